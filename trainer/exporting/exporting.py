"""Exports a run: writes each file aside, proves it, and only then gives it its name."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords_builder.errors import UserError
from trainer.augment.config import IDENTITY
from trainer.exporting.contract import Contract, Geometry, append_contract
from trainer.exporting.model_card import model_card
from trainer.exporting.onnx_file import check_expressible
from trainer.exporting.plain_network import PlainNetwork, flatten
from trainer.exporting.proof import Comparison, compare, describe, worst_layers
from trainer.exporting.reference import ProofPhotos, Reference, compute_reference, read_photos
from trainer.exporting.runtime import RuntimeResult, run_in_own_process
from trainer.exporting.targets import (
    BOUNDS,
    KERAS,
    LITERT,
    ONNX,
    SAVED_MODEL,
    Bound,
    Target,
)
from trainer.inference_settings import InferenceSettings, load_inference_settings
from trainer.input.canvases import canvas_px_of

if TYPE_CHECKING:
    from trainer.exporting.litert import LiteRtWriter
    from trainer.inference import TrainedRun

REPORT_FILE = "export.json"
CARD_FILE = "MODEL_CARD.md"
SERVING_VERSION = "1"
_CALIBRATION_SPLIT = "train"
_MOST_CALIBRATION = 180
_LAYER_PHOTOS = 4
_ENCODED_PHOTOS = 32
_MOST_GREY_LEVELS = 4.0
"""Mean difference between prepared pixels and those of evaluation. Another JPEG decoder makes 1 to
2 (measured); another geometry tens."""


class ExportError(UserError):
    """A file broke its bound; nothing of it is kept."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """What to export, and how to prove it."""

    data_dir: str
    out: Path
    targets: tuple[Target, ...]
    tta: str = "stored"
    """stored: views as the run folder says; none: the photo as it is."""
    split: str = "val"
    proof_images: int | None = None
    """Photos of the split that every file runs on; None for all."""
    num_threads: int = 1
    """Of the runtimes, where latency is measured."""
    with_activation: bool = True
    """Write the evidence maps too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Proven:
    result: RuntimeResult
    comparison: Comparison
    remedy: str | None = None
    encoded: Comparison | None = None
    tried: tuple[str, ...] = ()


class Exporter:
    """Exports one run.

    Args:
        run: in float32.
        request: what for.
    """

    def __init__(self, run: "TrainedRun", request: ExportRequest):
        self.run, self.request = run, request
        self.settings = InferenceSettings(weights_sha256=run.weights_sha256, views=(IDENTITY,))
        stored = load_inference_settings(run.run_dir, run.weights_sha256)
        if stored is not None:
            # Without views the temperature of the photo alone would have to be fitted anew.
            self.settings = stored if request.tta == "stored" else self.settings
        for target in request.targets:
            if target.format in (ONNX, KERAS):
                check_expressible(run.augmentation, self.settings, target.format)
        self.network: PlainNetwork = flatten(run.network.model)
        self.contract = make_contract(run, self.settings)
        self.photos: ProofPhotos = read_photos(
            request.data_dir, request.split, request.proof_images, self.contract
        )
        self.reference: Reference = compute_reference(
            run, self.photos, request.data_dir, request.split, request.proof_images, self.settings
        )
        self._litert: LiteRtWriter | None = None
        self._calibration: np.ndarray | None = None

    def export(self) -> dict[str, Any]:
        """Writes and proves all files, then `export.json` and the model card.

        Returns:
            What stands in `export.json`.

        Raises:
            ExportError: a file broke its bound. Those that held their own are kept.
        """
        request = self.request
        request.out.mkdir(parents=True, exist_ok=True)
        preparation = compare(
            self.reference.on_pixels, self.reference.on_canvases, self.photos.labels
        )
        print(describe("prepared pixels", preparation), flush=True)
        if self.reference.pixel_difference > _MOST_GREY_LEVELS:
            raise ExportError(
                f"prepared pixels are {self.reference.pixel_difference:.1f} grey levels off those "
                f"of evaluation on average; need at most {_MOST_GREY_LEVELS:g}; nothing was "
                "written; build the records again if they were made elsewhere, else report this"
            )
        entries, failures = [], []
        with (
            tempfile.TemporaryDirectory(prefix=".unproven-", dir=request.out) as staging,
            contextlib.closing(self),
        ):
            for target in request.targets:
                final = request.out / target.name
                # An older file of this name is not what was asked for now, whatever comes.
                _remove(final)
                try:
                    path = Path(staging) / target.name
                    proven = self._make(target, path)
                except ExportError as error:
                    failures.append(str(error))
                    print(f"error: {error}", flush=True)
                    continue
                entries.append(_entry(target, path, proven))
                os.replace(path, final)
                print(_line(entries[-1]), flush=True)
                self._report(entries, preparation, failures)
        document = self._report(entries, preparation, failures)
        correct = self.photos.labels == self.reference.on_canvases.argmax(axis=1)
        labelled = int((self.photos.labels >= 0).sum())
        card = model_card(
            self.run.record, self.contract, entries, request.split, int(correct.sum()), labelled
        )
        _write(request.out / CARD_FILE, card)
        if failures:
            raise ExportError(failures[0])
        return document

    def close(self) -> None:
        """Removes what was written on the way."""
        if self._litert is not None:
            self._litert.close()
            self._litert = None

    def _make(self, target: Target, path: Path) -> _Proven:
        contract = replace(self.contract, format=target.format, quantization=target.quantization)
        if target.format == LITERT:
            return self._make_litert(target, contract, path)
        if target.format == ONNX:
            from trainer.exporting.onnx_file import onnx_model

            model = onnx_model(self.network, self.run.augmentation, self.settings, contract)
            path.write_bytes(model.SerializeToString())
        elif target.format == KERAS:
            from trainer.exporting.keras_file import keras_model, write_keras

            write_keras(
                keras_model(self.network, self.run.augmentation, self.settings), contract, path
            )
        else:
            from trainer.exporting.saved_model import write_saved_model

            write_saved_model(self._pixel_model(), contract, path / SERVING_VERSION)
        proven = self._prove(path / SERVING_VERSION if target.format == SAVED_MODEL else path)
        self._require(proven.comparison, target.bound, target.name, [])
        if target.format != SAVED_MODEL:
            return proven
        return replace(proven, encoded=self._prove_encoded(path / SERVING_VERSION))

    def _prove_encoded(self, path: Path) -> Comparison:
        """The signature on files: its decoding is TensorFlow's, not Pillow's."""
        photos = np.empty(min(_ENCODED_PHOTOS, len(self.photos.encoded)), object)
        photos[:] = self.photos.encoded[: len(photos)]
        result = run_in_own_process(path, photos, self.request.num_threads, "serving_default")
        found = compare(
            result.probabilities,
            self.reference.on_pixels[: len(photos)],
            self.photos.labels[: len(photos)],
        )
        # Of few photos one is many points: agreement is what is held.
        bound = Bound(difference=None, drop_points=100.0, agreement=0.9)
        self._require(found, bound, f"{SAVED_MODEL} on encoded photos", [])
        return found

    def _make_litert(self, target: Target, contract: Contract, path: Path) -> _Proven:
        from trainer.exporting.litert import REMEDIES, LiteRtWriter

        if self._litert is None:
            self._litert = LiteRtWriter(self._pixel_model())
        if target.quantization != "int8":
            data = self._litert.convert(target.quantization)
            path.write_bytes(append_contract(data, contract))
            proven = self._prove(path)
            self._require(
                proven.comparison,
                target.bound,
                target.name,
                self._worst(path)[0] if proven.comparison.broken(target.bound) else [],
            )
            return proven
        tried: list[str] = []
        tensors: list[str] = []
        for remedy in REMEDIES:
            if self._is_enhanced() and not remedy.float_ends:
                continue  # Histograms and powers of grey levels are no matter for eight bits.
            data = self._litert.quantize(remedy, self._calibration_photos(), tensors)
            path.write_bytes(append_contract(data, contract))
            proven = self._prove(path)
            if not proven.comparison.broken(target.bound):
                return replace(proven, remedy=remedy.name, tried=tuple(tried))
            layers, tensors = self._worst(path)
            tried.append(remedy.name)
            print(describe(f"{target.name}, {remedy.name}", proven.comparison), flush=True)
        self._require(proven.comparison, target.bound, target.name, layers)
        raise AssertionError("a broken bound is an error")

    def _is_enhanced(self) -> bool:
        config = self.run.augmentation
        return "always" in (config.clahe, config.adaptive_gamma)

    def _prove(self, path: Path) -> _Proven:
        result = run_in_own_process(path, self.photos.pixels, self.request.num_threads)
        comparison = compare(result.probabilities, self.reference.on_pixels, self.photos.labels)
        return _Proven(result=result, comparison=comparison)

    def _require(self, comparison: Comparison, bound: Bound, what: str, layers: list[str]) -> None:
        broken = comparison.broken(bound)
        if not broken:
            return
        named = f"; the layers that lose most: {', '.join(layers)}" if layers else ""
        raise ExportError(
            f"{what} is not the network that it was made of: {'; '.join(broken)}, on "
            f"{comparison.num_photos} photos of {self.request.split}{named}; nothing of it is "
            "kept; export it less quantized, or prove it on more photos"
        )

    def _worst(self, path: Path) -> tuple[list[str], list[str]]:
        """(layers, their tensors) of a LiteRT file, those that lose most first."""
        import tensorflow as tf

        from trainer.exporting.litert import layer_errors

        pixels = self.photos.pixels[:_LAYER_PHOTOS]
        features = self._pixel_model().features(tf.constant(pixels))
        errors = layer_errors(
            path, {name: value.numpy() for name, value in features.items()}, pixels
        )
        ranked = worst_layers({name: error for name, (error, _) in errors.items()}, len(errors))
        return ranked[:5], [errors[name][1] for name in ranked]

    def _calibration_photos(self) -> np.ndarray:
        if self._calibration is None:
            photos = read_photos(
                self.request.data_dir, _CALIBRATION_SPLIT, _MOST_CALIBRATION, self.contract
            )
            self._calibration = photos.pixels
        return self._calibration

    def _pixel_model(self) -> Any:
        from trainer.exporting.graph import PixelModel

        return PixelModel(
            self.network, self.run.augmentation, self.settings, self.request.with_activation
        )

    def _report(
        self, entries: list[dict[str, Any]], preparation: Comparison, failures: list[str]
    ) -> dict[str, Any]:
        """Writes `export.json` as far as the export has come."""
        document = {
            "schema_version": 1,
            "run_id": self.run.record["run_id"],
            "run_dir": self.run.run_dir,
            "weights_sha256": self.run.weights_sha256,
            "data": {"dir": self.request.data_dir, "split": self.request.split},
            "bounds": {name: asdict(bound) for name, bound in BOUNDS.items()},
            "prepared_pixels": {
                **preparation.to_json(),
                "grey_levels": self.reference.pixel_difference,
            },
            "files": entries,
            "failures": failures,
        }
        path = self.request.out / REPORT_FILE
        _write(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
        return document


def make_contract(run: "TrainedRun", settings: InferenceSettings) -> Contract:
    """The contract of a run's files; format and quantization are each file's own."""
    config = run.augmentation
    return Contract(
        classes=run.classes,
        image_px=run.image_px,
        geometry=Geometry(
            resize=config.resize,
            center_fraction=config.center_fraction,
            pad_value=config.pad_value,
            canvas_px=canvas_px_of(run.image_px),
        ),
        temperature=settings.temperature,
        views=tuple(asdict(view) for view in settings.views),
        weights_sha256=run.weights_sha256,
        run_id=run.record["run_id"],
        recipe=run.recipe.name,
        backbone=run.recipe.backbone,
        format="",
        quantization="none",
    )


def _entry(target: Target, path: Path, proven: _Proven) -> dict[str, Any]:
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) or [path]
    result = proven.result
    document: dict[str, Any] = {
        "file": target.name,
        "format": target.format,
        "quantization": target.quantization,
        "bytes": sum(entry.stat().st_size for entry in files),
        "sha256": {
            entry.relative_to(path.parent).as_posix(): hashlib.sha256(
                entry.read_bytes()
            ).hexdigest()
            for entry in files
        },
        "proof": proven.comparison.to_json(),
        "bound": asdict(target.bound),
        "load_secs": result.load_secs,
        "latency_ms": result.latency_ms,
        "num_threads": result.num_threads,
        "peak_memory_mb": result.peak_memory_mb,
    }
    if proven.remedy is not None:
        document["remedy"] = {"name": proven.remedy, "tried_before": list(proven.tried)}
    if proven.encoded is not None:
        document["proof_on_encoded"] = proven.encoded.to_json()
    return document


def _line(entry: dict[str, Any]) -> str:
    proof = entry["proof"]
    scored = "" if proof["top_1"] is None else f"top-1 {proof['top_1']:.4f}, "
    remedy = f" ({entry['remedy']['name']})" if "remedy" in entry else ""
    return (
        f"{entry['file']:22} {entry['bytes'] / 1e6:7.1f} MB  {scored}"
        f"drop {proof['drop_points']:.2f} points, agreement {proof['agreement']:.1%}, largest "
        f"difference {proof['max_difference']:.2g}, {entry['latency_ms']:.1f} ms a photo on "
        f"{entry['num_threads']} thread(s), peak {entry['peak_memory_mb']:.0f} MB{remedy}"
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text)
    os.replace(temporary, path)
