from dataclasses import replace

import numpy as np
import pytest

from trainer.exporting.proof import compare, describe, worst_layers
from trainer.exporting.targets import BOUNDS

LABELS = np.array([0, 1, 2, 1])
REFERENCE = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.6, 0.3, 0.1]])


def test_the_reference_itself_holds_every_bound():
    found = compare(REFERENCE, REFERENCE, LABELS)
    assert found.max_difference == 0
    assert found.agreement == 1
    assert all(not found.broken(bound) for bound in BOUNDS.values())


def test_a_lost_answer_is_counted_in_points():
    worse = REFERENCE[[1, 1, 2, 3]]
    found = compare(worse, REFERENCE, LABELS)
    assert found.top_1_reference == 0.75
    assert found.drop_points == 25
    assert found.resolution_points == 25
    assert any("points of top-1" in reason for reason in found.broken(BOUNDS["int8"]))


@pytest.mark.parametrize(
    ("num_photos", "num_lost", "kind"), [(100, 1, "int8"), (500, 1, "float16"), (1000, 2, "none")]
)
@pytest.mark.parametrize("labelled", [True, False])
def test_a_loss_as_large_as_the_bound_holds_at_every_accuracy(
    num_photos: int, num_lost: int, kind: str, labelled: bool
):
    """0.88 - 0.87 is more than 0.01 in floating point."""
    bound = replace(BOUNDS[kind], difference=None)
    reference = np.zeros((num_photos, 2))
    for num_right in range(num_lost + 1, num_photos + 1):
        reference[:, 0] = np.arange(num_photos) < num_right
        reference[:, 1] = 1 - reference[:, 0]
        labels = np.full(num_photos, 0 if labelled else -1)
        found = compare(lost(reference, num_lost), reference, labels)
        assert found.drop_points == bound.drop_points, num_right
        assert found.broken(bound) == [], num_right
        found = compare(lost(reference, num_lost + 1), reference, labels)
        assert "points of top-1 are lost" in str(found.broken(bound)), num_right


def lost(probabilities: np.ndarray, num: int) -> np.ndarray:
    """The first answers turned."""
    turned = probabilities.copy()
    turned[:num] = turned[:num, ::-1]
    return turned


def test_wrong_label_order_breaks_every_bound():
    found = compare(REFERENCE[:, [1, 2, 0]], REFERENCE, LABELS)
    assert all(found.broken(bound) for bound in BOUNDS.values())


def test_without_labels_other_answers_are_the_drop():
    found = compare(REFERENCE[[1, 1, 2, 3]], REFERENCE, np.full(4, -1))
    assert found.top_1 is None
    assert found.drop_points == 25


def test_what_is_no_number_breaks_the_bound():
    found = compare(np.full((4, 3), np.nan), REFERENCE, LABELS)
    assert found.max_difference == 1
    assert found.broken(BOUNDS["none"])


def test_a_float32_file_must_be_equal_to_a_ten_thousandth():
    near = REFERENCE + np.array([2e-4, -2e-4, 0])
    reasons = compare(near, REFERENCE, LABELS).broken(BOUNDS["none"])
    assert len(reasons) == 1
    assert "0.0002" in reasons[0]


MAPS = np.random.default_rng(0).normal(size=(2, 3, 3, 4))


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (lambda maps: maps * (1 + 1e-5), []),
        (lambda maps: maps.transpose(0, 2, 1, 3), ["none", "float16", "dynamic", "int8"]),
        (lambda maps: maps[..., ::-1], ["none", "float16", "dynamic", "int8"]),
        (lambda maps: maps[:, :2], ["none", "float16", "dynamic", "int8"]),
        (lambda maps: maps * np.nan, ["none", "float16", "dynamic", "int8"]),
        (lambda maps: maps * 1.5, ["none", "float16"]),
    ],
    ids=["same", "turned", "other classes", "other size", "no number", "other scale"],
)
def test_wrong_evidence_maps_break_the_bound(spoil, broken):
    found = compare(REFERENCE, REFERENCE, LABELS).with_maps(spoil(MAPS), MAPS)
    assert [kind for kind, bound in BOUNDS.items() if found.broken(bound)] == broken


def test_other_shapes_are_an_error():
    with pytest.raises(ValueError, match="reference"):
        compare(REFERENCE[:, :2], REFERENCE, LABELS)


def test_the_worst_layers_stand_first():
    assert worst_layers({"a": 0.1, "b": 0.5, "c": 0.3}, 2) == ["b", "c"]


def test_a_comparison_is_described_in_a_line():
    line = describe("model.tflite", compare(REFERENCE, REFERENCE, LABELS))
    assert line == (
        "model.tflite: top-1 0.7500 of 0.7500, agreement 100.0%, largest difference 0 (4 photos)"
    )
