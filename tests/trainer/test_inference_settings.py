"""What validation decides about predicting, and its file beside the run."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.augment.config import IDENTITY, View
from trainer.errors import RunFolderError
from trainer.inference_settings import (
    ALL_VIEWS,
    InferenceSettings,
    load_inference_settings,
    measure_views,
    write_inference_settings,
)
from trainer.metrics import evaluate_predictions
from trainer.metrics.choice import Candidate
from trainer.metrics.ensemble import Space
from trainer.metrics.predictions import softmax

MIRRORED = InferenceSettings(
    weights_sha256="abc",
    views=(IDENTITY, View(mirror=True)),
    average=Candidate(name="mirror, logits", weights=(1.0, 1.0), space=Space.LOGITS),
    temperature=1.5,
    num_examples=30,
)


def noisy_views(num_views: int, num_examples: int, noise: float, seed: int = 0):
    """Logits [V, N, 5] of views that err independently, and labels [N]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, num_examples)
    logits = rng.normal(scale=noise, size=(num_views, num_examples, 5))
    logits[:, np.arange(num_examples), labels] += 2
    return logits.astype(np.float32), labels


def test_one_view_is_the_softmax() -> None:
    logits, _ = noisy_views(1, 20, 1.0)
    plain = InferenceSettings(weights_sha256="abc")
    np.testing.assert_allclose(plain.predict(logits), softmax(logits[0]), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.06, 19), st.integers(0, 1000))
def test_temperature_changes_no_class(temperature: float, seed: int) -> None:
    logits, _ = noisy_views(2, 10, 2.0, seed)
    sharp = InferenceSettings.from_json(MIRRORED.to_json() | {"temperature": temperature})
    uncalibrated = sharp.average_views(logits)
    assert (sharp.predict(logits).argmax(axis=1) == uncalibrated.argmax(axis=1)).all()


def test_fitted_temperature_lowers_the_log_loss() -> None:
    logits, labels = noisy_views(2, 300, 4.0)
    fitted = MIRRORED.refitted(logits, labels)
    names = [str(index) for index in range(5)]
    before = evaluate_predictions(fitted.average_views(logits), labels, names)
    after = evaluate_predictions(fitted.predict(logits), labels, names)
    assert fitted.temperature > 1.2
    assert after.log_loss < before.log_loss
    assert after.ece < before.ece
    assert fitted.num_examples == 300


def test_views_with_errors_of_their_own_are_averaged() -> None:
    logits, labels = noisy_views(len(ALL_VIEWS), 300, 2.0)
    chosen, choice = measure_views("abc", logits, labels)
    none, *_ = choice.measured
    assert chosen.average.name != "none"
    assert len(chosen.views) > 1
    assert all(view in ALL_VIEWS for view in chosen.views)
    best = next(row for row in choice.measured if row.candidate == choice.chosen)
    assert best.accuracy > none.accuracy
    kept = [ALL_VIEWS.index(view) for view in chosen.views]
    right = (chosen.average_views(logits[kept]).argmax(axis=1) == labels).mean()
    assert right == best.accuracy


def test_views_that_only_blur_are_left_alone() -> None:
    logits, labels = noisy_views(len(ALL_VIEWS), 300, 1.0)
    logits[1:] = 0.3 * np.random.default_rng(1).normal(size=logits[1:].shape)
    chosen, _ = measure_views("abc", logits, labels)
    assert chosen.views == (IDENTITY,)
    assert chosen.average.name == "none"


def test_file_brings_back_what_was_written(tmp_path: Path) -> None:
    logits, labels = noisy_views(len(ALL_VIEWS), 60, 2.0)
    chosen, _ = measure_views("abc", logits, labels)
    write_inference_settings(str(tmp_path), chosen)
    assert load_inference_settings(str(tmp_path), "abc") == chosen
    assert [path.name for path in tmp_path.iterdir()] == ["inference.json"]


def test_settings_of_other_weights_do_not_count(tmp_path: Path) -> None:
    assert load_inference_settings(str(tmp_path), "abc") is None
    write_inference_settings(str(tmp_path), MIRRORED)
    assert load_inference_settings(str(tmp_path), "abc") == MIRRORED
    assert load_inference_settings(str(tmp_path), "def") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 99'),
        lambda text: text.replace('"temperature"', '"warmth"'),
        lambda text: json.dumps(json.loads(text) | {"views": []}),
    ],
)
def test_damaged_file_is_an_error(tmp_path: Path, damage) -> None:
    path = Path(write_inference_settings(str(tmp_path), MIRRORED))
    path.write_text(damage(path.read_text()))
    with pytest.raises(RunFolderError, match=r"cannot be used .* evaluate the run on val again"):
        load_inference_settings(str(tmp_path), "abc")
