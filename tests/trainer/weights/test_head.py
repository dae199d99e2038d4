"""A head moves between data sets by the names of its classes."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.weights.head import fit_head
from trainer.weights.tensors import LoadedWeights

CLASSES = ("Focus", "Kalina", "Niva", "Priora")
TRUNK = "stem_conv/kernel"


def loaded_with(classes: tuple[str, ...] | None) -> LoadedWeights:
    """A head whose logit of class `name` is the number of letters in it."""
    lengths = np.array([len(name) for name in classes or CLASSES], np.float32)
    arrays = {
        TRUNK: np.zeros(3, np.float32),
        "head_bn/gamma": np.arange(5, dtype=np.float32),
        "head_logits/kernel": np.tile(lengths, (5, 1)),
        "head_logits/bias": lengths,
    }
    return LoadedWeights(
        arrays=arrays,
        used={key: f"file:{key}" for key in arrays},
        left_out={},
        not_filled=(),
        description="a run",
        sha256="",
        classes=classes,
    )


@given(st.permutations(CLASSES))
def test_same_classes_in_another_order_are_reordered_by_name(order) -> None:
    fitted = fit_head(loaded_with(tuple(order)), CLASSES)
    expected = [len(name) for name in CLASSES]
    np.testing.assert_array_equal(fitted.arrays["head_logits/bias"], expected)
    np.testing.assert_array_equal(fitted.arrays["head_logits/kernel"], [expected] * 5)
    np.testing.assert_array_equal(fitted.arrays["head_bn/gamma"], np.arange(5))
    assert fitted.not_filled == ()


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (
            ("Focus", "Kalina", "Niva", "Oka"),
            "head for other classes: Focus, Kalina, Niva and 1 more",
        ),
        (None, "head of unknown classes: the source does not name them"),
    ],
)
def test_head_that_only_fits_in_size_is_dropped_with_the_reason(theirs, reason) -> None:
    loaded = loaded_with(theirs)
    fitted = fit_head(loaded, CLASSES)
    assert list(fitted.arrays) == list(fitted.used) == [TRUNK]
    assert fitted.not_filled == tuple(key for key in loaded.arrays if key != TRUNK)
    assert fitted.left_out["file:head_logits/bias"].startswith(reason)


def test_lineage_counts_the_reasons() -> None:
    lineage = fit_head(loaded_with(None), CLASSES).lineage()
    assert lineage["num_used"] == 1
    reason = "head of unknown classes: the source does not name them"
    assert lineage["left_out"] == {reason: 3}
    assert json.loads(json.dumps(lineage)) == lineage


def test_trunk_alone_is_left_as_it_is() -> None:
    loaded = loaded_with(None)
    trunk = dataclasses.replace(loaded, arrays={TRUNK: loaded.arrays[TRUNK]})
    assert fit_head(trunk, CLASSES) is trunk
