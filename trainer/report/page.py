"""One or two runs as one HTML file: nothing is loaded, no scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from trainer.metrics import Evaluation
from trainer.report.durations import describe_seconds
from trainer.report.evaluation_figures import classes_to_show
from trainer.report.page_charts import Curve, confusion_chart, line_chart, reliability_chart
from trainer.report.page_facts import (
    borders,
    command_of,
    curves,
    ledger,
    softens_labels,
    stage_facts,
    status_of,
)
from trainer.report.page_run import Comparison, RunPage
from trainer.report.soup_facts import soup_facts
from trainer.run_record import differing_values

_MAX_CLASSES_IN_MATRIX = 60
_MAX_PAIRS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What an hour of the machine costs."""

    per_hour: float
    currency: str

    def of(self, seconds: float) -> str:
        """The cost of some time."""
        return f"{seconds / 3600 * self.per_hour:.2f} {self.currency}"


def render_page(
    runs: Sequence[RunPage], comparison: Comparison | None = None, price: Price | None = None
) -> str:
    """Returns the text of the page."""
    import jinja2

    template = resources.files("trainer.report").joinpath("page.html").read_text("utf-8")
    # Escaping matters: class and file names are whatever somebody called their files.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = describe_seconds
    environment.filters["score"] = lambda value: "–" if value is None else f"{value:.4f}"
    environment.filters["signed"] = _signed
    # With a space at which no line is broken.
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
    environment.filters["svg"] = jinja2.filters.do_mark_safe
    return environment.from_string(template).render(
        runs=[_context(run) for run in runs],
        comparison=comparison,
        differences=_differences(runs),
        shared_charts=_shared_charts(runs) if len(runs) > 1 else (),
        price=price,
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def confused_pairs(evaluation: Evaluation) -> list[tuple[str, str, int, int]]:
    """(label, taken for, photos, photos of the label), the most frequent first."""
    names = evaluation.class_names
    wrong = [cell for cell in evaluation.confusion if cell.label != cell.predicted]
    wrong.sort(key=lambda cell: (-cell.count, cell.label, cell.predicted))
    return [
        (
            names[cell.label],
            names[cell.predicted],
            cell.count,
            evaluation.per_class[cell.label].support,
        )
        for cell in wrong[:_MAX_PAIRS]
    ]


def _context(run: RunPage) -> dict[str, Any]:
    record = run.record
    spent = ledger(record)
    stages = stage_facts(record)
    context: dict[str, Any] = {
        "page": run,
        "record": record,
        "scored": run.scored,
        "status": status_of(record),
        "stages": stages,
        "soup": soup_facts(record),
        "best": max(
            (stage.accuracy for stage in stages if stage.accuracy is not None), default=None
        ),
        "skipped": ", ".join(
            f"{stage.num_skipped} in {stage.name}" for stage in stages if stage.num_skipped
        ),
        "ledger": spent,
        "seconds": sum(spent.values()),
        "command": command_of(record),
        "softens_labels": softens_labels(record),
        "accuracy_chart": line_chart(
            "accuracy", curves(record, "accuracy"), borders(record), from_zero=True
        ),
        "loss_chart": line_chart("loss", curves(record, "loss"), borders(record)),
    }
    if run.scored is not None:
        context |= _scored_context(run.scored.evaluation, run.scored.calibrated)
    return context


def _scored_context(evaluation: Evaluation, calibrated: Evaluation) -> dict[str, Any]:
    shown = classes_to_show(evaluation, _MAX_CLASSES_IN_MATRIX)
    classes = sorted(
        zip(evaluation.class_names, evaluation.per_class, strict=True),
        key=lambda row: (row[1].recall is None, row[1].recall, row[0]),
    )
    return {
        "classes": classes,
        "pairs": confused_pairs(evaluation),
        "num_hidden": len(classes) - len(shown),
        "confusion_chart": confusion_chart(
            evaluation.confusion_matrix(shown),
            [evaluation.class_names[index] for index in shown],
            np.array([evaluation.per_class[index].support for index in shown]),
        ),
        "reliability_chart": reliability_chart(
            [
                ("as the network says", evaluation.reliability),
                ("calibrated", calibrated.reliability),
            ]
        ),
    }


def _shared_charts(runs: Sequence[RunPage]) -> tuple[tuple[str, str], ...]:
    """Validation of both runs on one axis."""
    charts = []
    for what in ("accuracy", "loss"):
        lines = [
            Curve(name=run.title, points=curve.points)
            for run in runs
            for curve in curves(run.record, what)
            if curve.name == "validation"
        ]
        if len(lines) == len(runs):
            drawn = line_chart(f"validation {what}", lines, (), from_zero=what == "accuracy")
            charts.append((f"validation {what}", drawn))
    return tuple(charts)


def _differences(runs: Sequence[RunPage]) -> list[tuple[str, Any, Any]]:
    if len(runs) < 2:
        return []
    left, right = (
        {
            "settings": run.record["settings"],
            "versions": run.record["versions"],
            "devices": run.record["devices"],
        }
        for run in runs
    )
    return [
        (path.removeprefix("settings."), *values) for path, *values in differing_values(left, right)
    ]
