"""Charts: everything drawn lies inside, can be seen, and can be read on what lies below it."""

import re
from importlib import resources

import numpy as np
import pytest

from trainer.report.page_charts import Curve, confusion_chart, line_chart

STYLE = resources.files("trainer.report").joinpath("page.html").read_text("utf-8")
MODES = ("light", "dark", "print")


def colours(mode: str) -> dict[str, tuple[int, ...]]:
    """Of the style sheet, by the variable's name; a later block of it overrides."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert len(blocks) == 3
    chosen = blocks[0] + {"light": "", "dark": blocks[1], "print": blocks[2]}[mode]
    found = {}
    for name, text in re.findall(r"--([\w-]+): #([0-9a-f]+);", chosen):
        digits = "".join(2 * digit for digit in text) if len(text) == 3 else text
        found[name] = tuple(int(digits[at : at + 2], 16) for at in (0, 2, 4))
    return found


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2, 1 to 21."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = ((np.array(colour) / 255 + 0.055) / 1.055) ** 2.4
        return float(linear @ (0.2126, 0.7152, 0.0722))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", MODES)
def test_counts_can_be_read_on_cells_of_any_shade(mode: str) -> None:
    size = 101
    matrix = np.diag(np.arange(size)) + np.diag(np.arange(100, 0, -1), 1)
    chart = confusion_chart(matrix, [f"{n}" for n in range(size)], np.full(size, 100))
    palette = colours(mode)
    cells = re.findall(r'class="(hit|miss)".*?fill-opacity="([\d.]+)".*?class="c([^"]*)"', chart)
    assert len(cells) == 200
    for kind, opacity, more in cells:
        share = float(opacity)
        fill = palette["good" if kind == "hit" else "bad"]
        cell = [share * a + (1 - share) * b for a, b in zip(fill, palette["paper"], strict=True)]
        text = palette["on" if "on" in more.split() else "ink"]
        assert contrast(text, tuple(cell)) > 3, (kind, opacity)


@pytest.mark.parametrize("mode", MODES)
def test_lines_can_be_told_from_the_paper_and_by_brightness_alone(mode: str) -> None:
    palette = colours(mode)
    assert min(contrast(palette[name], palette["paper"]) for name in ("one", "two")) > 3
    assert contrast(palette["one"], palette["two"]) > 1.7


def test_names_have_room_in_any_script() -> None:
    def margin(name: str) -> int:
        chart = confusion_chart(np.array([[1]]), [name], np.array([1]))
        return int(re.search(r'class="e s" x="(\d+)"', chart)[1])

    # 10.5 px letters: a Chinese one is a square, capitals are half as wide again as small letters.
    assert margin("\u8f7f" * 12) >= 12 * 10.5
    assert margin("MERCEDES") > margin("mercedes")


def test_one_epoch_can_be_seen() -> None:
    chart = line_chart("loss", [Curve(name="training", points=((34, 0.5),))], [("only", 34)])
    assert '<circle class="dot d0"' in chart
    two = [Curve(name="training", points=((17, 0.7), (34, 0.5)))]
    assert "<circle" not in line_chart("loss", two, [("only", 34)])


def test_losses_of_nothing_have_an_axis() -> None:
    assert "polyline" in line_chart(
        "loss", [Curve(name="training", points=((1, 0.0), (2, 0.0)))], ()
    )
