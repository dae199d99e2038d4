"""Writes and proves one file after the other of one network."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.augment.config import Augmentation
from trainer.exporting.contract import Contract, append_contract, read_contract
from trainer.exporting.layer_errors import layer_errors
from trainer.exporting.plain_network import PlainNetwork
from trainer.exporting.proof import describe, worst_layers
from trainer.exporting.proving import Proven, Prover
from trainer.exporting.reference import read_photos
from trainer.exporting.remedies import REMEDIES
from trainer.exporting.runtime import ExportError
from trainer.exporting.targets import KERAS, LITERT, ONNX, SAVED_MODEL, Target
from trainer.inference_settings import InferenceSettings

if TYPE_CHECKING:
    from trainer.exporting.graph import PixelModel
    from trainer.exporting.litert import LiteRtWriter

SERVING_VERSION = "1"
CALIBRATION_SPLIT = "train"
"""Of int8."""
_MOST_CALIBRATION = 180
_LAYER_PHOTOS = 4
_NAMED_LAYERS = 5
"""Of a file that breaks its bound."""


@dataclass(kw_only=True)
class FileMaker:
    """What all files of an export are made of, and what some of them share."""

    network: PlainNetwork
    augmentation: Augmentation
    settings: InferenceSettings
    contract: Contract
    """Format and quantization are each file's own."""
    prover: Prover
    data_dir: str
    """Its training split calibrates int8."""
    with_activation: bool
    """Write the evidence maps too."""
    _litert: "LiteRtWriter | None" = field(default=None, init=False)
    _calibration: np.ndarray | None = field(default=None, init=False)

    def close(self) -> None:
        """Removes what was written on the way."""
        if self._litert is not None:
            self._litert.close()
            self._litert = None

    def make(self, target: Target, path: Path) -> Proven:
        """Writes a file and proves it.

        Raises:
            ExportError: it broke its bound, whatever was tried, or names other classes.
        """
        contract = replace(self.contract, format=target.format, quantization=target.quantization)
        proven = self._write_and_prove(target, contract, path)
        inside = read_contract(path / SERVING_VERSION if target.format == SAVED_MODEL else path)
        # The proof compares numbers; these are what they mean.
        if inside != contract or proven.result.classes not in (None, contract.classes):
            raise ExportError(
                f"{target.name} tells of other classes, pixels or views than the run; nothing of "
                "it is kept; report this"
            )
        return proven

    def _write_and_prove(self, target: Target, contract: Contract, path: Path) -> Proven:
        if target.format == LITERT:
            return self._make_litert(target, contract, path)
        if target.format == ONNX:
            from trainer.exporting.onnx_file import onnx_model

            model = onnx_model(self.network, self.settings, contract, self.with_activation)
            path.write_bytes(model.SerializeToString())
        elif target.format == KERAS:
            from trainer.exporting.keras_file import keras_model, write_keras

            model = keras_model(self.network, self.settings, self.with_activation)
            write_keras(model, contract, path)
        else:
            from trainer.exporting.saved_model import write_saved_model

            write_saved_model(self._pixel_model, contract, path / SERVING_VERSION)
        proven = (
            self.prover.run_saved_model(path / SERVING_VERSION)
            if target.format == SAVED_MODEL
            else self.prover.run(path)
        )
        self.prover.require(proven.comparison, target.bound, target.name)
        return proven

    def _make_litert(self, target: Target, contract: Contract, path: Path) -> Proven:
        from trainer.exporting.litert import LiteRtWriter

        if self._litert is None:
            self._litert = LiteRtWriter(self._pixel_model)
        if target.quantization == "int8":
            return self._make_int8(self._litert, target, contract, path)
        path.write_bytes(append_contract(self._litert.convert(target.quantization), contract))
        proven = self.prover.run(path)
        layers = self._worst(path) if proven.comparison.broken(target.bound) else []
        self.prover.require(proven.comparison, target.bound, target.name, layers[:_NAMED_LAYERS])
        return proven

    def _make_int8(
        self, writer: "LiteRtWriter", target: Target, contract: Contract, path: Path
    ) -> Proven:
        """Tries one remedy after the other."""
        tried: list[str] = []
        worst: list[str] = []
        for remedy in REMEDIES:
            if self._is_enhanced() and not remedy.float_ends:
                continue  # Histograms and powers of grey levels are no matter for eight bits.
            data = writer.quantize(remedy, self._calibration_photos(), worst)
            path.write_bytes(append_contract(data, contract))
            proven = self.prover.run(path)
            if not proven.comparison.broken(target.bound):
                return replace(proven, remedy=remedy.name, tried=tuple(tried))
            layers = self._worst(path)
            if not remedy.num_float_layers:
                worst = layers  # Layers that are in float lose nothing, but must stay there.
            tried.append(remedy.name)
            print(describe(f"{target.name}, {remedy.name}", proven.comparison), flush=True)
        self.prover.require(proven.comparison, target.bound, target.name, layers[:_NAMED_LAYERS])
        raise AssertionError("a broken bound is an error")

    def _is_enhanced(self) -> bool:
        config = self.augmentation
        return "always" in (config.clahe, config.adaptive_gamma)

    def _worst(self, path: Path) -> list[str]:
        """The layers of a LiteRT file, those that lose most first."""
        import tensorflow as tf

        pixels = self.prover.photos.pixels[:_LAYER_PHOTOS]
        features = (
            {name: t.numpy() for name, t in self._pixel_model.features(image, view).items()}
            for image in [tf.constant(pixels)]
            for view in self.settings.views
        )
        errors = layer_errors(path, self.network, features, pixels)
        return worst_layers(errors, len(errors))

    def _calibration_photos(self) -> np.ndarray:
        if self._calibration is None:
            photos = read_photos(self.data_dir, CALIBRATION_SPLIT, _MOST_CALIBRATION, self.contract)
            self._calibration = photos.pixels
        return self._calibration

    @cached_property
    def _pixel_model(self) -> "PixelModel":
        from trainer.exporting.graph import PixelModel

        return PixelModel(self.network, self.augmentation, self.settings, self.with_activation)
