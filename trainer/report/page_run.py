"""What the page says of one scored run, and of two of them on the same photos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.metrics import Evaluation
from trainer.metrics.label_errors import LabelSuspect, find_label_errors
from trainer.metrics.significance import two_sided_mcnemar_p_value
from trainer.report.page_photos import PhotoCard, Pictures, make_card, most_confident_mistakes

MAX_MISTAKES = 24
MAX_SUSPECTS = 24
MAX_CHANGED = 12
"""A side: photos that only one of two runs has right."""

Draw = Callable[[Sequence[tuple[int, int]]], Pictures]
"""(record, class) pairs to their pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredSplit:
    """The calibrated predictions of one run on one split, and what was computed from them."""

    evaluation: Evaluation
    """As the network says."""
    calibrated: Evaluation
    temperature: float
    is_fitted: bool
    """Whether the temperature was fitted on these very photos."""
    views: str
    split_name: str
    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    """float64 [N, K], calibrated: what trainer.predict writes."""
    weights_file: str
    weights_sha256: str
    trained_on_split: bool
    """Then the scores are no estimate for new photos."""

    @property
    def predicted(self) -> np.ndarray:
        """Class indices [N]."""
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """One run of the page."""

    title: str
    run_dir: str
    record: Mapping[str, Any]
    scored: ScoredSplit | None
    """None for a run without a model yet."""
    mistakes: tuple[PhotoCard, ...] = ()
    num_suspects: int = 0
    suspects: tuple[PhotoCard, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs on the same photos."""

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float
    """Exact McNemar test, two-sided."""
    gained: tuple[PhotoCard, ...]
    """Right only in the second."""
    lost: tuple[PhotoCard, ...]
    """Right only in the first."""


def make_run_page(
    title: str, run_dir: str, record: Mapping[str, Any], scored: ScoredSplit | None, draw: Draw
) -> RunPage:
    """Chooses the photos to show and draws them."""
    if scored is None:
        return RunPage(title=title, run_dir=run_dir, record=record, scored=None)
    names, predicted = scored.evaluation.class_names, scored.predicted
    wrong = most_confident_mistakes(scored.probabilities, scored.labels, MAX_MISTAKES)
    suspects = find_label_errors(scored.probabilities, scored.labels)
    shown = suspects[:MAX_SUSPECTS]
    pictures = draw(
        [(index, int(predicted[index])) for index in wrong]
        + [(suspect.index, suspect.suggested) for suspect in shown]
    )
    return RunPage(
        title=title,
        run_dir=run_dir,
        record=record,
        scored=scored,
        mistakes=tuple(
            make_card(
                pictures,
                scored.ids,
                index,
                int(predicted[index]),
                [
                    ("says", int(predicted[index]), scored.probabilities[index].max()),
                    _probability_of("label", scored, index, int(scored.labels[index])),
                ],
                names,
            )
            for index in wrong
        ),
        num_suspects=len(suspects),
        suspects=tuple(_suspect_card(pictures, scored, suspect) for suspect in shown),
    )


def compare(first: ScoredSplit, second: ScoredSplit, draw: Draw) -> Comparison:
    """Compares photo by photo.

    Args:
        draw: with the second run's network.

    Raises:
        ValueError: they were not scored on the same photos.
    """
    if first.ids != second.ids or not np.array_equal(first.labels, second.labels):
        raise ValueError("the two runs were scored on different photos; score both on one split")
    right = [scored.predicted == scored.labels for scored in (first, second)]
    gained = np.flatnonzero(~right[0] & right[1])
    lost = np.flatnonzero(right[0] & ~right[1])
    shown = {
        name: _surest_first(second, indices)[:MAX_CHANGED]
        for name, indices in (("gained", gained), ("lost", lost))
    }
    pictures = draw(
        [(index, int(second.predicted[index])) for part in shown.values() for index in part]
    )

    def cards(indices: Sequence[int]) -> tuple[PhotoCard, ...]:
        return tuple(
            make_card(
                pictures,
                second.ids,
                index,
                int(second.predicted[index]),
                [
                    ("A says", int(first.predicted[index]), first.probabilities[index].max()),
                    ("B says", int(second.predicted[index]), second.probabilities[index].max()),
                ],
                second.evaluation.class_names,
            )
            for index in indices
        )

    return Comparison(
        both_right=int((right[0] & right[1]).sum()),
        only_first=len(lost),
        only_second=len(gained),
        both_wrong=int((~right[0] & ~right[1]).sum()),
        p_value=two_sided_mcnemar_p_value(len(gained), len(lost)),
        gained=cards(shown["gained"]),
        lost=cards(shown["lost"]),
    )


def _surest_first(scored: ScoredSplit, indices: np.ndarray) -> list[int]:
    order = np.argsort(-scored.probabilities[indices].max(axis=1), kind="stable")
    chosen: list[int] = indices[order].tolist()
    return chosen


def _suspect_card(pictures: Pictures, scored: ScoredSplit, suspect: LabelSuspect) -> PhotoCard:
    return make_card(
        pictures,
        scored.ids,
        suspect.index,
        suspect.suggested,
        [
            ("label", suspect.label, suspect.label_probability),
            ("rather", suspect.suggested, suspect.suggested_probability),
        ],
        scored.evaluation.class_names,
    )


def _probability_of(
    what: str, scored: ScoredSplit, index: int, name: int
) -> tuple[str, int, float]:
    return what, name, float(scored.probabilities[index, name])
