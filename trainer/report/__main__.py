r"""Writes a run as one HTML file to read, send or print; two runs are compared.

    python -m trainer.report --run_dir=RUN [--data=DATA] [--out=report.html]
    python -m trainer.report --run_dir=RUN --run_dir=RUN2 --out=comparison.html

See docs/report.md.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line, storage
from trainer.devices import STRATEGIES, make_strategy
from trainer.errors import DataError, RunFolderError
from trainer.tensorflow_start import require_tensorflow

if TYPE_CHECKING:
    from trainer.inference import TrainedRun
    from trainer.report.page_photos import Pictures
    from trainer.report.page_run import RunPage, ScoredSplit

_TITLES = ("A", "B")


def define_flags() -> None:
    """Defines this command's flags; not at import, so that two commands can be imported."""
    flags.DEFINE_multi_string("run_dir", None, "Folder of a run; a second one is compared with it.")
    flags.DEFINE_string("data", None, "Folder with built records; that of the run by default.")
    flags.DEFINE_string("split", "val", "What to score; it must have labels.")
    flags.DEFINE_string("out", None, "The file; report.html in the run folder by default.")
    flags.DEFINE_float("price_per_hour", None, "Of the machine, for the cost.", lower_bound=0)
    flags.DEFINE_string("currency", "USD", "Of the price.")
    flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to run on; not there is an error.")
    flags.mark_flag_as_required("run_dir")


def main() -> None:
    """Scores the runs and writes the page."""
    values = flags.FLAGS
    run_dirs = values.run_dir
    if len(run_dirs) > len(_TITLES):
        raise RunFolderError(
            f"--run_dir was given {len(run_dirs)} times; need one run, or two to compare; see a "
            "table of many with: python -m trainer.runs list ROOT"
        )
    name = "report.html" if len(run_dirs) == 1 else "comparison.html"
    path = values.out or storage.join(run_dirs[-1], name)
    if values.out:
        storage.make_folder_of(path)
    require_tensorflow()
    from trainer.report.page import Price, render_page
    from trainer.report.page_run import compare

    strategy = make_strategy(values.strategy)
    pages: list[RunPage] = []
    runs: list[TrainedRun | None] = []
    for title, run_dir in zip(_TITLES, run_dirs, strict=False):
        # Both on the data of the first, or there is nothing to compare photo by photo.
        data_dir = values.data or (_data_of(runs[0]) if runs and runs[0] else None)
        page, run = _read(title, run_dir, data_dir, values.split, strategy)
        pages.append(page)
        runs.append(run)
    comparison = None
    if len(pages) == 2 and pages[0].scored and pages[1].scored:
        first, second = runs
        assert first is not None
        assert second is not None
        data_dir = values.data or _data_of(first)
        comparison = compare(
            pages[0].scored,
            pages[1].scored,
            lambda pairs: _draw(second, data_dir, values.split, pairs),
        )
    price = None
    if values.price_per_hour is not None:
        price = Price(per_hour=values.price_per_hour, currency=values.currency)
    text = render_page(pages, comparison, price).encode()
    storage.write_bytes(path, text)
    print(f"{path}  ({len(text) / 2**20:.1f} MB)")


def _read(
    title: str, run_dir: str, data_dir: str | None, split: str, strategy: object
) -> "tuple[RunPage, TrainedRun | None]":
    import tensorflow as tf

    from trainer.inference import TrainedRun
    from trainer.report.page_run import make_run_page
    from trainer.run_record import MODEL_FILE, load_run_record

    record = load_run_record(run_dir)
    if not record["finished"] and not tf.io.gfile.exists(os.path.join(run_dir, MODEL_FILE)):
        return make_run_page(title, run_dir, record, None, lambda pairs: {}), None
    run = TrainedRun(run_dir, strategy)
    data_dir = data_dir or _data_of(run)
    scored = _score(run, data_dir, split)
    page = make_run_page(
        title, run_dir, record, scored, lambda pairs: _draw(run, data_dir, split, pairs)
    )
    return page, run


def _score(run: "TrainedRun", data_dir: str, split: str) -> "ScoredSplit":
    from trainer.report.page_run import ScoredSplit
    from trainer.run_evaluation import evaluate_run

    result = evaluate_run(run, data_dir, split, "stored")
    is_own = result.data_fingerprint == run.data_fingerprint
    return ScoredSplit(
        evaluation=result.evaluation,
        calibrated=result.calibrated,
        temperature=result.settings.temperature,
        is_fitted=result.is_fitted,
        views=result.settings.average.name,
        split_name=split,
        ids=result.predictions.ids,
        labels=result.predictions.labels,
        probabilities=result.settings.predict(result.predictions.views),
        weights_file=run.weights_file,
        weights_sha256=run.weights_sha256,
        trained_on_split=split == "train" or not is_own,
    )


def _draw(
    run: "TrainedRun", data_dir: str, split: str, pairs: Sequence[tuple[int, int]]
) -> "Pictures":
    from trainer.report.page_photos import draw_pictures

    return draw_pictures(run, data_dir, split, pairs)


def _data_of(run: "TrainedRun") -> str:
    """The folder that the run was trained on, if it still is where it was."""
    from tfrecords_builder.manifest import FILE_NAME

    folder: str = run.record["data"]["dir"]
    try:
        storage.size_of(storage.join(folder, FILE_NAME))
    except FileNotFoundError:
        raise DataError(
            f"the data of {run.run_dir!r} is not at {folder!r} any more (seen from here); need the "
            "records to score and to show photos; name their folder with --data"
        ) from None
    return folder


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
