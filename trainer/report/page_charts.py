"""Charts as inline SVG, coloured by the page's style sheet, so that they follow light and dark."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from trainer.metrics.calibration import ReliabilityBin

# About the width of a phone: there and side by side on a desktop the letters stay readable.
_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 26, 34
_CELL = 15
_DARK = 0.75
"""Opacity of a cell from which on the paper's colour can be read better on it than the ink's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A named line."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(
    title: str, lines: Sequence[Curve], borders: Sequence[tuple[str, int]], from_zero: bool = False
) -> str:
    """Lines over optimizer steps, with a dashed border at the end of each stage.

    Args:
        title: what is drawn, for those who cannot see it.
        lines: in the order of the style sheet's line colours.
        borders: (stage, last step).
        from_zero: the axis starts at 0 and ends at 1 at least.
    """
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    steps = [step for line in lines for step, _ in line.points]
    if not values:
        return ""
    low = 0.0 if from_zero else min(0.0, *values)
    high = max(1.0, *values) if from_zero else max(values) * 1.05 or 1.0
    last = max([*steps, *(step for _, step in borders)])
    ticks = _ticks(low, high)
    parts = _axes(ticks, low, high)
    begin = 0
    for number, (name, step) in enumerate(borders):
        middle, end = _x((begin + step) / 2, last), _x(step, last)
        if number < len(borders) - 1:
            parts.append(f'<line class="border" x1="{end}" x2="{end}" y1="18" y2="{_base()}"/>')
        # A name in a stage that is too narrow for it would lie on its neighbours.
        if (step - begin) / last * (_WIDTH - _LEFT - _RIGHT) > _text_px(name):
            parts.append(f'<text class="m" x="{middle}" y="14">{escape(name)}</text>')
        begin = step
    for number, line in enumerate(lines):
        points = [
            (_x(step, last), _y(value, low, high))
            for step, value in line.points
            if math.isfinite(value)
        ]
        label = f"<title>{escape(line.name)}</title>"
        if len(points) == 1:  # Of one epoch there is no line.
            ((x, y),) = points
            parts.append(f'<circle class="dot d{number}" cx="{x}" cy="{y}" r="4">{label}</circle>')
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline class="line l{number}" points="{path}">{label}</polyline>')
    parts.append(f'<text class="m" x="{_WIDTH / 2:g}" y="{_HEIGHT - 6}">optimizer steps</text>')
    parts.append(f'<text class="e" x="{_WIDTH - _RIGHT}" y="{_base() + 14}">{last:g}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_base() + 14}">0</text>')
    return _svg(_WIDTH, _HEIGHT, title, parts)


def reliability_chart(curves: Sequence[tuple[str, Sequence[ReliabilityBin]]]) -> str:
    """Accuracy over confidence; the larger a dot, the more photos it stands for."""
    parts = _axes(_ticks(0, 1), 0, 1)
    parts.append(
        f'<line class="border" x1="{_LEFT}" y1="{_y(0, 0, 1)}" '
        f'x2="{_WIDTH - _RIGHT}" y2="{_y(1, 0, 1)}"/>'
    )
    for number, (name, bins) in enumerate(curves):
        filled = [
            (part.confidence, part.accuracy, part.num_examples)
            for part in bins
            if part.confidence is not None and part.accuracy is not None
        ]
        total = sum(count for _, _, count in filled)
        path = " ".join(f"{_x(x, 1)},{_y(y, 0, 1)}" for x, y, _ in filled)
        parts.append(f'<polyline class="line l{number}" points="{path}"/>')
        parts += [
            f'<circle class="dot d{number}" cx="{_x(x, 1)}" cy="{_y(y, 0, 1)}" '
            f'r="{2 + 8 * math.sqrt(count / total):.1f}"><title>{escape(name)}: {count} photos, '
            f"confidence {x:.3f}, accuracy {y:.3f}</title></circle>"
            for x, y, count in filled
        ]
    parts.append(f'<text class="m" x="{_WIDTH / 2:g}" y="{_HEIGHT - 6}">confidence</text>')
    parts.append('<text x="4" y="14">accuracy</text>')
    for value in _ticks(0, 1):
        parts.append(f'<text class="m" x="{_x(value, 1)}" y="{_base() + 14}">{value:g}</text>')
    return _svg(_WIDTH, _HEIGHT, "accuracy over confidence", parts)


def confusion_chart(
    matrix: NDArray[np.int64], names: Sequence[str], totals: NDArray[np.int64]
) -> str:
    """A confusion matrix: rows are labels, shaded by their share of the label's photos.

    Args:
        matrix: counts [k, k] of the classes that are shown.
        names: of them.
        totals: photos of each label [k], those predicted as a class that is not shown included.
    """
    # Cut in the middle: makes and models often differ at the end only.
    shown = [name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}" for name in names]
    margin = 20 + math.ceil(max(_text_px(name) for name in shown))
    parts = []
    end = margin + _CELL * len(shown)
    size = end + 4
    for place in range(margin, end + 1, _CELL):
        parts.append(f'<line class="grid" x1="{margin}" x2="{end}" y1="{place}" y2="{place}"/>')
        parts.append(f'<line class="grid" y1="{margin}" y2="{end}" x1="{place}" x2="{place}"/>')
    for row, name in enumerate(shown):
        y = margin + _CELL * row
        parts.append(f'<text class="e s" x="{margin - 4}" y="{y + 11}">{escape(name)}</text>')
        parts.append(
            f'<text class="s" transform="translate({y + 11},{margin - 4}) rotate(-90)">'
            f"{escape(name)}</text>"
        )
    for row, column in np.argwhere(matrix > 0).tolist():
        count = int(matrix[row, column])
        share = count / max(1, int(totals[row]))
        kind = "hit" if row == column else "miss"
        x, y = margin + _CELL * column, margin + _CELL * row
        opacity = 0.12 + 0.88 * share if kind == "hit" else min(1.0, 0.25 + 1.5 * share)
        digits = "" if len(str(count)) <= 3 else " tiny"
        dark = " on" if opacity > _DARK else ""
        parts.append(
            f"<g><title>{escape(names[row])} taken for {escape(names[column])}: {count}</title>"
            f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" '
            f'fill-opacity="{opacity:.2f}"/>'
            f'<text class="c{digits}{dark}" x="{x + _CELL / 2:g}" y="{y + 10.5:g}">{count}</text>'
            "</g>"
        )
    parts.append(f'<text class="m s" x="{(margin + size) / 2:g}" y="9">predicted</text>')
    parts.append(
        f'<text class="m s" transform="translate(9,{(margin + size) / 2:g}) rotate(-90)">'
        "label</text>"
    )
    return _svg(size, size, "confusion matrix", parts, css_class="confusion")


def _text_px(text: str) -> float:
    """How wide text is at most, about; letters of Chinese, Japanese and Korean are squares."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    broad = sum(letter.isupper() or letter in "<>=+%@&mw" for letter in text)
    return 11 * wide + 8.5 * broad + 6.6 * (len(text) - wide - broad)


def _axes(ticks: Sequence[float], low: float, high: float) -> list[str]:
    parts = []
    for tick in ticks:
        y = _y(tick, low, high)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="e" x="{_LEFT - 5}" y="{y + 4:g}">{tick:g}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five of them."""
    step = 10 ** math.floor(math.log10(high - low))
    for factor in (0.1, 0.2, 0.25, 0.5, 1):
        if (high - low) / (step * factor) <= 6:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _x(value: float, last: float) -> float:
    return round(_LEFT + value / last * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, low: float, high: float) -> float:
    return round(_base() - (value - low) / (high - low) * (_base() - _TOP), 1)


def _base() -> int:
    return _HEIGHT - _BOTTOM


def _svg(
    width: float, height: float, title: str, parts: Sequence[str], css_class: str = "chart"
) -> str:
    return (
        f'<svg class="{css_class}" viewBox="0 0 {width:g} {height:g}" '
        f'style="--w:{width:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
