"""An evaluation as pictures: the confusion matrix, and whether probabilities mean what they say."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.metrics.calibration import ReliabilityBin
from trainer.metrics.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES_SHOWN = 40
_MAX_CLASSES_NUMBERED = 20
_DPI = 100
_DARK = 0.7
"""Share from which on white can be read better than black on the matrix' blue."""


def confusion_figure(evaluation: Evaluation) -> NDArray[np.uint8]:
    """Draws the confusion matrix, rows (labels) as shares; the cells' numbers are photos.

    Of more than 40 classes those with the most mistakes, made or suffered, are shown.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    shown = classes_to_show(evaluation, MAX_CLASSES_SHOWN)
    part = evaluation.confusion_matrix(shown)
    totals = np.array([evaluation.per_class[index].support for index in shown])
    shares = part / np.maximum(totals, 1)[:, None]
    side = 3.0 + 0.28 * len(shown)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the label's photos", fraction=0.046, pad=0.04)
    names = [evaluation.class_names[index] for index in shown]
    # A class may be called anything, "$5_$" too, which is no formula.
    axes.set_xticks(range(len(shown)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    hidden = len(evaluation.class_names) - len(shown)
    axes.set_title(
        f"{evaluation.num_correct} of {evaluation.num_examples} right"
        + (f"; {hidden} classes with fewer mistakes not shown" if hidden else "")
    )
    if len(shown) <= _MAX_CLASSES_NUMBERED:
        for (row, column), count in np.ndenumerate(part):
            if count:
                color = "white" if shares[row, column] > _DARK else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color)
    return pixels_of(figure)


def reliability_figure(evaluation: Evaluation, calibrated: Evaluation) -> NDArray[np.uint8]:
    """Draws accuracy over confidence before and after calibration, and how many photos lie where.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    figure = new_figure(6, 7)
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="grey", linestyle="--", label="as it should be")
    for name, each, color in (
        ("as the network says", evaluation, "tab:orange"),
        ("calibrated", calibrated, "tab:blue"),
    ):
        confidences, accuracies = _points(each.reliability)
        curve.plot(
            confidences, accuracies, marker="o", color=color, label=f"{name}, ECE {each.ece:.4f}"
        )
        counts.stairs(
            [part.num_examples for part in each.reliability], _edges(each.reliability), color=color
        )
    curve.set_ylabel("accuracy")
    curve.set_xlim(0, 1)
    curve.set_ylim(0, 1)
    curve.legend(loc="best")
    counts.set_xlabel("confidence")
    counts.set_ylabel("photos")
    return pixels_of(figure)


def classes_to_show(evaluation: Evaluation, limit: int) -> list[int]:
    """Indices of all classes; of more than `limit` those with the most mistakes, in their order."""
    mistakes = evaluation.num_mistakes()
    return sorted(np.argsort(-mistakes, kind="stable")[:limit].tolist())


def _points(bins: tuple[ReliabilityBin, ...]) -> tuple[list[float], list[float]]:
    filled = [
        (part.confidence, part.accuracy)
        for part in bins
        if part.confidence is not None and part.accuracy is not None
    ]
    return [confidence for confidence, _ in filled], [accuracy for _, accuracy in filled]


def _edges(bins: tuple[ReliabilityBin, ...]) -> list[float]:
    return [bins[0].low, *(part.high for part in bins)]


def new_figure(width: float, height: float, dpi: int = _DPI) -> "Figure":
    """A figure of inches that belongs to no screen."""
    # Not through pyplot: it keeps every figure and may look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def pixels_of(figure: "Figure") -> NDArray[np.uint8]:
    """Draws it: uint8 [H, W, 3], RGB."""
    canvas = figure.canvas
    with warnings.catch_warnings():
        # The font that comes with matplotlib has no Chinese, among others; there are boxes then.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()  # type: ignore[attr-defined]
