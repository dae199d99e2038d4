"""Which files an export writes, and what each must prove."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.errors import DataError
from trainer.installed import require_modules

if TYPE_CHECKING:
    from trainer.augment.config import Augmentation
    from trainer.inference_settings import InferenceSettings

SAVED_MODEL = "saved_model"
KERAS = "keras"
LITERT = "litert"
ONNX = "onnx"
FORMATS = (SAVED_MODEL, KERAS, LITERT, ONNX)
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
_RUNTIMES = {LITERT: ("ai_edge_litert",), ONNX: ("onnx", "onnxruntime")}
"""Modules that write a format and prove its files; the others need TensorFlow alone."""
_NAMES = {SAVED_MODEL: "saved_model", KERAS: "model.keras", ONNX: "model.onnx"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """How far a file may be off the network that it was made of."""

    difference: float | None
    """Of any probability; None bounds none."""
    drop_points: float
    """Of the share of right answers, in points of a hundred."""
    agreement: float
    """Least share of photos with the same answer: below it this is another network, whatever it
    scores."""
    map_error: float = 0.7
    """Of the evidence maps, in shares of their size. Int8 has 0.2; maps that are turned would have
    1.2, those of other classes 1.4 (EfficientNetV2-B0)."""


BOUNDS = {
    "none": Bound(difference=1e-4, drop_points=0.2, agreement=0.99, map_error=1e-3),
    "float16": Bound(difference=None, drop_points=0.2, agreement=0.95, map_error=0.05),
    "dynamic": Bound(difference=None, drop_points=1.0, agreement=0.8),
    "int8": Bound(difference=None, drop_points=1.0, agreement=0.8),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One file, or folder."""

    format: str
    quantization: str = "none"

    @property
    def name(self) -> str:
        """Below the output folder; SavedModels lie in a numbered folder, as servers want it."""
        if self.format == LITERT:
            return {"none": "model.tflite"}.get(
                self.quantization, f"model-{self.quantization}.tflite"
            )
        return _NAMES[self.format]

    @property
    def bound(self) -> Bound:
        """What its proof is held against."""
        return BOUNDS[self.quantization]


def check_expressible(
    targets: Sequence[Target], augmentation: "Augmentation", settings: "InferenceSettings"
) -> None:
    """Raises DataError if a run needs more than ONNX and Keras files of this program can hold."""
    beyond = [
        name for name in ("clahe", "adaptive_gamma") if getattr(augmentation, name) == "always"
    ]
    beyond += [f"a view at scale {view.scale:g}" for view in settings.views if view.scale != 1]
    formats = [target.format for target in targets if target.format in (ONNX, KERAS)]
    if beyond and formats:
        raise DataError(
            f"--format={','.join(formats)} of a run with {', '.join(beyond)}; these files hold "
            "the network, mirrored views and the temperature; use saved_model or litert, or for "
            "views --tta=none"
        )


def require_runtimes(targets: Sequence[Target]) -> None:
    """Raises NotInstalledError if what these files are written or proven with is not here."""
    for form in dict.fromkeys(target.format for target in targets):
        require_modules(_RUNTIMES.get(form, ()), f"--format={form}", "staged-trainer[export]")


def plan_targets(formats: Sequence[str], quantizations: Sequence[str]) -> tuple[Target, ...]:
    """The files of an export; only LiteRT is quantized.

    Raises:
        DataError: a format or quantization that is not known, or none.
    """
    for what, given, known in (
        ("--format", formats, FORMATS),
        ("--quantize", quantizations, QUANTIZATIONS),
    ):
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise DataError(
                f"{what}={','.join(given)} cannot be used; need some of {', '.join(known)}, "
                "separated by commas; name at least one"
            )
    if LITERT not in formats and tuple(quantizations) != ("none",):
        raise DataError(
            f"--quantize={','.join(quantizations)} without litert in --format; only LiteRT files "
            "are quantized; add litert"
        )
    return tuple(
        target
        for form in dict.fromkeys(formats)
        for target in (
            [Target(format=form, quantization=name) for name in dict.fromkeys(quantizations)]
            if form == LITERT
            else [Target(format=form)]
        )
    )
