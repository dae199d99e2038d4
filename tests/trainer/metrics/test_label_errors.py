"""Confident learning finds what was mislabelled on purpose."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.metrics.label_errors import find_label_errors


def made(num_examples: int, num_wrong: int, seed: int):
    """Predictions of a good network, and labels of which some were changed: which ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, num_examples)
    labels = truth.copy()
    wrong = rng.choice(num_examples, num_wrong, replace=False)
    labels[wrong] = (truth[wrong] + 1) % 5
    logits = rng.normal(scale=0.5, size=(num_examples, 5))
    logits[np.arange(num_examples), truth] += 5
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels, set(wrong.tolist())


def test_changed_labels_come_first_with_the_true_class() -> None:
    probabilities, labels, wrong = made(400, 12, 0)
    found = find_label_errors(probabilities, labels)
    # Whoever is less sure than the average of its class is not counted.
    assert 6 <= len(found) <= 12
    assert {suspect.index for suspect in found} <= wrong
    for suspect in found:
        assert suspect.label == labels[suspect.index]
        assert suspect.suggested == (suspect.label - 1) % 5


def test_worked_example_by_hand() -> None:
    # Mean p of the own class: 0.6 for class 0 (0.9, 0.3), 0.5 for class 1 (0.5).
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]])
    (suspect,) = find_label_errors(probabilities, [0, 0, 1])
    assert (suspect.index, suspect.label, suspect.suggested) == (1, 0, 1)
    assert (suspect.label_probability, suspect.suggested_probability) == (0.3, 0.7)


@given(st.integers(0, 1000))
def test_no_suspect_has_its_own_label(seed: int) -> None:
    probabilities, labels, _ = made(40, 5, seed)
    for suspect in find_label_errors(probabilities, labels):
        assert suspect.suggested != suspect.label == labels[suspect.index]
