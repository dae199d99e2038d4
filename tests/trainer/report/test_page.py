"""The page misstates nothing: its numbers are those of run.json and of the evaluation."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.metrics import apply_temperature, evaluate_predictions
from trainer.metrics.significance import two_sided_mcnemar_p_value
from trainer.report.page import Price, render_page
from trainer.report.page_photos import most_confident_mistakes
from trainer.report.page_run import ScoredSplit, compare, make_run_page

REPOSITORY = Path(__file__).resolve().parents[3]
CLASSES = ("coupe", "<b>van</b>", "wagon", "a & b")
HISTORY = [
    ("head", 1, 10, 1.5, 0.31, 1.4, 0.4123, True),
    ("head", 2, 20, 1.2, 0.42, 1.3, 0.4011, False),
    ("finish", 0, 20, None, None, 1.4, 0.4123, True),
    ("finish", 1, 34, 0.9, 0.61, 0.8, 0.6234, True),
]
FIELDS = ("stage", "epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


def make_record(**changes: Any) -> dict[str, Any]:
    stages = [
        {"name": name, "image_px": px, "train_from": "all", "learning_rate": 0.01, "epochs": 2}
        for name, px in (("head", 48), ("finish", 64))
    ]
    recipe = {"name": "demo", "summary": "cars", "backbone": "Tiny", "monitor": "val_loss"}
    return {
        "run_id": "demo-1",
        "command": ["task.py", "--data=my data", "--recipe=demo"],
        "settings": {"recipe": recipe | {"stages": stages}, "seed": 7, "data_fingerprint": "f00d"},
        "data": {"dir": "d", "name": "cars", "classes": list(CLASSES), "splits": {"train": 90}},
        "devices": {"strategy": "one CPU", "num_replicas": 1},
        "versions": {"python": "3.11.7"},
        "num_starts": 2,
        "finished": True,
        "history": [
            dict(zip((*FIELDS, "is_best"), row, strict=True)) | {"seconds": 1} for row in HISTORY
        ],
        "seconds": {"head": {"step": 100.0, "build": 20.0}, "finish": {"step": 1680.0}},
    } | changes


def make_scored(
    num_examples: int = 60, classes: tuple[str, ...] = CLASSES, seed: int = 0, skill: float = 2.0
) -> ScoredSplit:
    labels = np.random.default_rng(99).integers(0, len(classes), num_examples)
    logits = np.random.default_rng(seed).normal(size=(num_examples, len(classes)))
    logits[np.arange(num_examples), labels] += skill
    plain, calibrated = apply_temperature(logits, 1.0), apply_temperature(logits, 1.25)
    return ScoredSplit(
        evaluation=evaluate_predictions(plain, labels, classes),
        calibrated=evaluate_predictions(calibrated, labels, classes),
        temperature=1.25,
        is_fitted=True,
        views="none",
        split_name="val",
        ids=tuple(f"photo-{index}.jpg" for index in range(num_examples)),
        labels=labels,
        probabilities=calibrated,
        weights_file="model.safetensors",
        weights_sha256="beef",
        trained_on_split=False,
    )


def draw(pairs):
    return dict.fromkeys(pairs, ("data:image/jpeg;base64,AA==",) * 2)


class Reader(HTMLParser):
    """Collects the texts of marked elements and the cells of marked tables."""

    def __init__(self, text: str):
        super().__init__()
        self.keys: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.sources: list[str] = []
        self.text = ""
        self._key = self._table = None
        self.feed(text)
        for rows in self.tables.values():
            rows[:] = [[cell.strip() for cell in row] for row in rows]

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "table":
            self._table = self.tables.setdefault(values.get("data-table"), [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")
        if "data-key" in values:
            self._key = self.keys.setdefault(values["data-key"], [])
            self._key.append("")
        self.sources += [values[name] for name in ("src", "href") if name in values]

    def handle_endtag(self, tag):
        self._key = None
        self._table = None if tag == "table" else self._table

    def handle_data(self, data):
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        self.text += data
        if self._key is not None:
            self._key[-1] += data
        if self._table and self._table[-1]:
            self._table[-1][-1] += data


@pytest.fixture(scope="module")
def scored() -> ScoredSplit:
    return make_scored()


@pytest.fixture(scope="module")
def page(scored) -> Reader:
    run = make_run_page("A", "runs/1", make_record(), scored, draw)
    return Reader(render_page([run], price=Price(per_hour=3.5, currency="EUR")))


def test_scores_are_those_of_the_evaluation(page, scored) -> None:
    evaluation, calibrated = scored.evaluation, scored.calibrated
    for name in ("top_1", "top_5", "balanced_accuracy", "macro_f1", "log_loss", "ece"):
        assert page.keys[name] == [f"{getattr(evaluation, name):.4f}"], name
    assert page.keys["accuracy"] == [f"{100 * evaluation.top_1:.1f} %"]
    assert page.keys["calibrated_ece"] == [f"{calibrated.ece:.4f}"]
    assert page.keys["calibrated_log_loss"] == [f"{calibrated.log_loss:.4f}"]
    assert page.keys["temperature"] == ["1.2500"]


def test_interval_is_that_of_the_evaluation(page, scored) -> None:
    low, high = scored.evaluation.top_1_interval
    words = " ".join(page.text.split())
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in words


def test_stages_are_those_of_the_record(page) -> None:
    rows = page.tables["stages"][1:]
    assert [row[0] for row in rows] == ["head", "finish"]
    assert rows[0][4:] == ["2 of 2", "1", "0.4123", "–", "1.4000", "2.0 min"]
    assert rows[1][4:] == ["1 of 2", "1", "0.6234", "+0.2111", "0.8000", "28.0 min"]


def test_updates_that_were_left_out_are_told_by_stage(page) -> None:
    assert "updates" not in page.text
    record = make_record()
    for epoch, num_skipped in zip(record["history"], (3, 2, 0, 0), strict=True):
        epoch["num_skipped"] = num_skipped
    shown = Reader(render_page([make_run_page("A", "r", record, None, draw)]))
    assert "Updates left out, since gradients were not finite: 5 in head." in shown.text


def test_time_is_the_ledger_and_cost_follows(page) -> None:
    assert [row[:3] for row in page.tables["ledger"]] == [
        ["step", "29.7 min", "98.9 %"],
        ["build", "20 s", "1.1 %"],
    ]
    assert page.keys["cost"] == ["1.75 EUR"]


def test_every_class_has_its_row(page, scored) -> None:
    rows = {row[0]: row[1:] for row in page.tables["classes"][1:]}
    assert set(rows) == set(CLASSES)
    for name, scores in zip(CLASSES, scored.evaluation.per_class, strict=True):
        numbers = (scores.recall, scores.precision, scores.f1)
        support, recall, _, precision, f1 = rows[name]
        assert int(support) == scores.support
        assert [recall, precision, f1] == [f"{number:.4f}" for number in numbers]


def test_confusion_matrix_holds_every_count(scored) -> None:
    run = make_run_page("A", "r", make_record(), scored, draw)
    text = render_page([run]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    found = re.findall(r"<title>(.*?) taken for (.*?): (\d+)</title>", text)
    names = scored.evaluation.class_names
    expected = {
        (names[cell.label], names[cell.predicted], str(cell.count))
        for cell in scored.evaluation.confusion
    }
    assert set(found) == expected
    assert len(found) == len(scored.evaluation.confusion)


def test_curves_go_through_the_points_of_the_history() -> None:
    from trainer.report.page_facts import borders, curves

    record = make_record()
    train, validation = curves(record, "accuracy")
    assert train.points == ((10, 0.31), (20, 0.42), (34, 0.61))
    assert validation.points == ((10, 0.4123), (20, 0.4011), (20, 0.4123), (34, 0.6234))
    assert borders(record) == (("head", 20), ("finish", 34))


def test_numbers_that_were_not_finite_are_no_points_and_no_scores() -> None:
    history = [*make_record()["history"]]
    history[-1] = history[-1] | {"train_loss": None, "val_loss": None, "gradient_norm": None}
    record = make_record(history=history)
    shown = Reader(render_page([make_run_page("A", "r", record, None, draw)]))
    assert shown.tables["stages"][2][6:9] == ["0.6234", "+0.2111", "–"]


def test_surest_mistakes_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    assert most_confident_mistakes(probabilities, np.array([1, 1, 0, 1]), 2) == [0, 2]


def test_nothing_is_loaded_and_names_are_escaped(page, scored) -> None:
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    text = render_page([make_run_page("A", "r", make_record(), scored, draw)])
    assert "<b>van</b>" not in text
    assert "<script" not in text
    assert "://" not in text


def test_page_of_50_classes_and_20000_photos_stays_small() -> None:
    from trainer.report.page_photos import _data_uri

    noise = np.random.default_rng(0).integers(0, 256, (288, 288, 3), np.uint8)
    picture = _data_uri(noise, 1.5)  # Noise is the worst that a JPEG can hold.
    scored = make_scored(20_000, tuple(f"a car of make {index}" for index in range(50)))
    run = make_run_page(
        "A", "r", make_record(), scored, lambda pairs: dict.fromkeys(pairs, (picture, picture))
    )
    text = render_page([run])
    assert len(run.mistakes) == len(run.suspects) == 24
    assert text.count("data:image/jpeg") == 96
    assert len(text.encode()) < 15e6


def test_a_training_loss_of_softened_labels_is_explained(page, scored) -> None:
    assert "smoothed or mixed labels" not in page.text
    for changes in ({"label_smoothing": 0.1}, {"augmentation": {"mixup_alpha": 0.2}}):
        record = make_record()
        record["settings"]["recipe"]["stages"][1] |= changes
        text = render_page([make_run_page("A", "r", record, scored, draw)])
        assert "smoothed or mixed labels" in text


def test_command_can_be_typed_again(page) -> None:
    assert "python -m trainer.task '--data=my data' --recipe=demo" in page.text


def test_page_of_a_soup_tells_of_its_members_and_not_of_a_training(scored) -> None:
    lineage = {
        "members": {"runs/b": "beef", "runs/a": "cafe"},
        "single_scores": {"runs/b": -0.5, "runs/a": -0.6, "runs/c": -0.7},
        "tried": {"runs/a": -0.4, "runs/c": -0.9},
        "monitor": "val_loss",
        "score": -0.375,
        "val_accuracy": 0.875,
        "val_loss": 0.375,
        "statistics": "average of the members",
    }
    record = make_record(
        command=["soup.py", "--runs=runs/a,runs/b,runs/c", "--out=my soup"],
        history=[],
        seconds={"soup": {"averaging": 120.0}},
        num_starts=1,
        soup=lineage,
    )
    page = Reader(render_page([make_run_page("A", "my soup", record, scored, draw)]))
    words = " ".join(page.text.split())
    assert "90 training photos, soup of 2 runs" in words
    assert page.tables["soup"][1:] == [
        ["runs/b", "0.5000", "–", "the best alone"],
        ["runs/a", "0.6000", "0.4000", "kept"],
        ["runs/c", "0.7000", "0.9000", "left out"],
    ]
    assert "validation accuracy 0.8750, loss 0.3750" in words
    assert "stages" not in page.tables
    assert "python -m trainer.soup --runs=runs/a,runs/b,runs/c '--out=my soup'" in page.text
    assert "2.0 min of averaging" in words
    assert "beef" in page.text
    assert "trainer.task" not in page.text


def test_unfinished_run_has_a_page_without_scores() -> None:
    record = make_record(finished=False)
    page = Reader(render_page([make_run_page("A", "r", record, None, draw)]))
    assert "stage 2 of 2 (finish), epoch 1 of 2" in page.text
    assert "Best validation accuracy so far: 62.3 %" in page.text
    assert "accuracy" not in page.keys


def test_run_without_any_epoch_has_a_page() -> None:
    record = make_record(finished=False, history=[], seconds={})
    assert (
        "No epoch is done."
        in Reader(render_page([make_run_page("A", "r", record, None, draw)])).text
    )


def test_photos_it_was_trained_on_are_no_proof(scored) -> None:
    import dataclasses

    seen = dataclasses.replace(scored, split_name="train", trained_on_split=True)
    page = Reader(render_page([make_run_page("A", "r", make_record(), seen, draw)]))
    assert "this is no estimate for new ones" in page.text


def test_a_temperature_from_other_photos_is_not_called_flattering(page, scored) -> None:
    import dataclasses

    assert "fitted on these photos" in page.text
    other = dataclasses.replace(scored, is_fitted=False)
    text = render_page([make_run_page("A", "r", make_record(), other, draw)])
    assert "fitted on these photos" not in text


def test_two_runs_are_compared_photo_by_photo(scored) -> None:
    better = make_scored(seed=1, skill=4.0)
    found = compare(scored, better, draw)
    right = [each.predicted == each.labels for each in (scored, better)]
    gained, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert (found.only_second, found.only_first) == (gained, lost)
    assert found.both_right + found.both_wrong + gained + lost == 60
    assert found.p_value == two_sided_mcnemar_p_value(gained, lost)
    other = make_record(run_id="demo-2", num_starts=1)
    other["settings"]["seed"] = 8
    pages = [
        make_run_page("A", "1", make_record(), scored, draw),
        make_run_page("B", "2", other, better, draw),
    ]
    page = Reader(render_page(pages, found))
    assert page.tables["paired"][1:] == [
        ["A right", str(found.both_right), str(lost)],
        ["A wrong", str(gained), str(found.both_wrong)],
    ]
    assert ["seed", "7", "8"] in page.tables["differences"]
    assert page.keys["top_1"] == [f"{each.evaluation.top_1:.4f}" for each in (scored, better)]
    assert "B is better by more than chance explains" in page.text


def test_runs_on_other_photos_are_not_compared(scored) -> None:
    with pytest.raises(ValueError, match="different photos"):
        compare(scored, make_scored(num_examples=50), draw)


def test_two_sided_test_of_mcnemar() -> None:
    from scipy.stats import binomtest

    for gained, lost in ((9, 1), (1, 9), (5, 5), (0, 0), (3, 2)):
        total = gained + lost
        expected = binomtest(gained, total).pvalue if total else 1.0
        assert two_sided_mcnemar_p_value(gained, lost) == pytest.approx(expected)


def test_command_writes_what_the_evaluation_says(cars, write_run, fresh_weights) -> None:
    run_dir = Path(write_run("run", fresh_weights(0)))
    other = Path(write_run("other", fresh_weights(1)))

    def start(module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The page of a run that nobody scored before fits the temperature that scoring it fits.
    start("trainer.report", f"--run_dir={run_dir}", f"--run_dir={other}", "--strategy=cpu")
    start("trainer.evaluate", f"--run_dir={run_dir}", f"--data={cars}", "--strategy=cpu")
    document = json.loads((run_dir / "evaluation-val.json").read_text())
    page = Reader((other / "comparison.html").read_text())
    for name in ("top_1", "top_5", "balanced_accuracy", "macro_f1", "log_loss"):
        assert page.keys[name][0] == f"{document[name]:.4f}", name
    assert page.keys["calibrated_log_loss"][0] == f"{document['calibrated']['log_loss']:.4f}"
    assert page.keys["temperature"][0] == f"{document['temperature']:.4f}"
    wrong = document["num_examples"] - document["num_correct"]
    assert len([source for source in page.sources if source.startswith("data:image/jpeg")]) >= wrong
