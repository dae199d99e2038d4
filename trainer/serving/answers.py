"""What the service says of photos: the JSON of `/v1/predict`."""

import numpy as np
from pydantic import BaseModel, Field

from trainer.exporting.contract import Contract, PreparedPhoto
from trainer.serving.predictor import Outputs

MOST_MAPS = 10
"""Of the most probable classes a photo: maps of all classes would be megabytes of numbers."""


class ModelAnswer(BaseModel):
    """Which model answered."""

    id: str = Field(description="Run and kind of file")
    recipe: str
    backbone: str
    quantization: str
    image_px: int
    num_classes: int
    weights_sha256: str


class ClassAnswer(BaseModel):
    """One class of one photo."""

    name: str
    probability: float
    activation: list[list[float]] | None = Field(
        default=None,
        description="How much each place of `box` speaks for the class, rows from the top; absent "
        f"unless asked for, known to the model, and of the {MOST_MAPS} most probable classes",
    )


class PhotoAnswer(BaseModel):
    """One photo: its classes, or why there are none; what does not apply is absent."""

    name: str | None = Field(default=None, description="As it was sent")
    classes: list[ClassAnswer] | None = Field(default=None, description="Most probable first")
    width: int | None = Field(default=None, description="Of the upright photo, in pixels")
    height: int | None = Field(default=None, description="Of the upright photo, in pixels")
    box: tuple[float, float, float, float] | None = Field(
        default=None, description="left, top, right, bottom of what the network saw, in pixels"
    )
    status: int | None = Field(
        default=None, description="413 too large, 422 damaged or no photo, 503 not now"
    )
    reason: str | None = Field(default=None, description="Why it has no classes")


class PredictAnswer(BaseModel):
    """One entry a photo, in the order in which they came."""

    model: ModelAnswer
    photos: list[PhotoAnswer]


def describe_model(contract: Contract) -> ModelAnswer:
    """What answers tell of the model."""
    return ModelAnswer(
        id=f"{contract.run_id}/{contract.format}-{contract.quantization}",
        recipe=contract.recipe,
        backbone=contract.backbone,
        quantization=contract.quantization,
        image_px=contract.image_px,
        num_classes=len(contract.classes),
        weights_sha256=contract.weights_sha256,
    )


def describe_photo(
    name: str | None,
    photo: PreparedPhoto,
    outputs: Outputs,
    contract: Contract,
    *,
    top_k: int,
    with_activation: bool,
) -> PhotoAnswer:
    """The most probable classes of a photo; of equal ones the first in the model's order."""
    order = np.argsort(-outputs.probabilities, kind="stable")[:top_k]
    activation = outputs.class_activation if with_activation else None
    return PhotoAnswer(
        name=name,
        classes=[
            ClassAnswer(
                name=contract.classes[index],
                probability=float(outputs.probabilities[index]),
                activation=None
                if activation is None or place >= MOST_MAPS
                else np.round(activation[..., index].astype(float), 4).tolist(),
            )
            for place, index in enumerate(order)
        ],
        width=photo.width,
        height=photo.height,
        box=photo.box,
    )
