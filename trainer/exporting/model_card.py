"""The model card: what an exported model is, what it was measured to do, and where it ends.

After Mitchell et al., "Model Cards for Model Reporting", 2019, in the form that the Hugging Face
Hub reads.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.exporting.contract import Contract
from trainer.metrics.interval import bootstrap_accuracy_interval
from trainer.report.soup_facts import soup_name

_CLASSES_SHOWN = 50


def model_card(
    record: Mapping[str, Any],
    contract: Contract,
    files: Sequence[Mapping[str, Any]],
    split_name: str,
    num_correct: int,
    num_labelled: int,
) -> str:
    """Markdown.

    Args:
        record: the run's `run.json`.
        contract: of the files.
        files: entries of `export.json`.
        split_name: of the proof.
        num_correct: of the labelled photos of the proof, by the run itself.
        num_labelled: how many there were; 0 leaves the score out.
    """
    recipe, data = record["settings"]["recipe"], record["data"]
    shown = ", ".join(contract.classes[:_CLASSES_SHOWN])
    if len(contract.classes) > _CLASSES_SHOWN:
        shown += f", and {len(contract.classes) - _CLASSES_SHOWN} more (labels.txt)"
    views = len(contract.views)
    lines = [
        "---",
        "pipeline_tag: image-classification",
        "library_name: keras",
        "---",
        "",
        f"# {recipe['name']}: {contract.backbone}, {len(contract.classes)} classes",
        "",
        f"{recipe['summary']}.",
        "",
        "## What it is",
        "",
        (
            f"- Network: {contract.backbone} at {contract.image_px} px, run `{contract.run_id}`, "
            f"weights with sha256 `{contract.weights_sha256}`."
        ),
        f"- Classes: {shown}.",
        (
            f"- Pixels: uint8 RGB {contract.image_px} x {contract.image_px}, upright, "
            f"`{contract.geometry.resize}` of the photo; all else is inside of the file."
        ),
        (
            f"- Predictions: {views} {'view' if views == 1 else 'views'} of each photo, "
            f"temperature {contract.temperature:.4g}."
        ),
        "",
        "## Training",
        "",
        *_soup(record),
        f"- Data: {data['name']}; "
        + ", ".join(f"{name} {count} photos" for name, count in data["splits"].items())
        + f"; fingerprint `{record['settings']['data_fingerprint']}`.",
        f"- Recipe `{recipe['name']}`, started from "
        + (
            "random weights"
            if recipe["weights"] == "none"
            else f"`{os.path.basename(recipe['weights'])}` weights"
        )
        + f", precision {recipe['precision']}.",
        "",
        "| stage | px | batch | epochs | learning rate | trained from |",
        "|---|---|---|---|---|---|",
        *(
            f"| {stage['name']} | {stage['image_px']} | {stage['batch_size']} | "
            f"{stage['epochs']} | {stage['learning_rate']:g} | {stage['train_from']} |"
            for stage in recipe["stages"]
        ),
        "",
        "## Scores",
        "",
        *_scores(split_name, num_correct, num_labelled),
        "",
        "| file | MB | top-1 | same answers | largest difference | ms a photo |",
        "|---|---|---|---|---|---|",
        *(_row(entry) for entry in files),
        "",
        (
            "The differences are to the run itself on the same photos; milliseconds are of one "
            "photo at a time on the machine that exported."
        ),
        "",
        "## Limits",
        "",
        "- It names one of its classes for every photo, also for one that shows none of them.",
        (
            "- Photos unlike those it was trained on (other cameras, countries, years, framing) "
            "were not measured."
        ),
        (
            "- The split above may have chosen the best epoch, the views and the temperature: "
            "expect a little less on new photos."
        ),
        "",
        "## Licences",
        "",
        "- The code that made it: Apache 2.0.",
        *_weights_licence(recipe["weights"]),
        (
            "- The photos keep the terms of those who took them; check them before the model is "
            "given to others."
        ),
        "",
    ]
    return "\n".join(lines)


def _soup(record: Mapping[str, Any]) -> list[str]:
    if (name := soup_name(record)) is None:
        return []
    return [
        (
            f"- A {name}: the average of the weights of those that run.json names. What follows is "
            "of the best of them alone."
        )
    ]


def _scores(split_name: str, num_correct: int, num_labelled: int) -> list[str]:
    if not num_labelled:
        return [f"The photos of `{split_name}` have no labels: only agreement was measured."]
    low, high = bootstrap_accuracy_interval(num_correct, num_labelled)
    return [
        (
            f"Accuracy on `{split_name}`: {num_correct / num_labelled:.4f} (95 % interval "
            f"{low:.4f} to {high:.4f}, {num_labelled} photos; one is "
            f"{100 / num_labelled:.2f} points)."
        )
    ]


def _row(entry: Mapping[str, Any]) -> str:
    proof, top_1 = entry["proof"], entry["proof"]["top_1"]
    scored = "" if top_1 is None else f"{top_1:.4f}"
    return (
        f"| {entry['file']} | {entry['bytes'] / 1e6:.1f} | {scored} | {proof['agreement']:.1%} | "
        f"{proof['max_difference']:.2g} | {entry['latency_ms']:.1f} |"
    )


def _weights_licence(weights: str) -> list[str]:
    if weights == "none":
        return []
    return [
        (
            "- The weights that training started from: those of Keras and of the EfficientNet "
            "authors are Apache 2.0; they were trained on ImageNet, whose photos are for research."
        )
    ]
