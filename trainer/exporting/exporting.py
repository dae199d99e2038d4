"""Exports a run: writes each file aside, proves it, and only then gives it its name."""

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.augment.config import IDENTITY
from trainer.exporting.contract import Contract, Geometry
from trainer.exporting.export_report import describe_entry, make_entry
from trainer.exporting.file_making import CALIBRATION_SPLIT, FileMaker
from trainer.exporting.model_card import model_card
from trainer.exporting.plain_network import PlainNetwork, flatten
from trainer.exporting.proof import Comparison, compare, describe
from trainer.exporting.proving import Prover
from trainer.exporting.reference import (
    ProofPhotos,
    Reference,
    compute_reference,
    find_split,
    read_photos,
)
from trainer.exporting.runtime import ExportError
from trainer.exporting.targets import BOUNDS, Target, check_expressible
from trainer.inference_settings import InferenceSettings, load_inference_settings
from trainer.input.canvases import canvas_px_of
from trainer.whole_files import write_whole

if TYPE_CHECKING:
    from trainer.inference import TrainedRun

REPORT_FILE = "export.json"
CARD_FILE = "MODEL_CARD.md"
_MOST_GREY_LEVELS = 4.0
"""Mean difference between prepared pixels and those of evaluation. Another JPEG decoder makes 1 to
2 (measured); another geometry tens."""


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
    """Write the evidence maps too, if the photo as it is is one of the views."""


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
        check_expressible(request.targets, run.augmentation, self.settings)
        if any(target.quantization == "int8" for target in request.targets):
            find_split(request.data_dir, CALIBRATION_SPLIT)
        self.network: PlainNetwork = flatten(run.network.model)
        self.contract = make_contract(run, self.settings)
        self.photos: ProofPhotos = read_photos(
            request.data_dir, request.split, request.proof_images, self.contract
        )
        self.reference: Reference = compute_reference(
            run, self.photos, request.data_dir, request.split, request.proof_images, self.settings
        )

    def export(self) -> dict[str, Any]:
        """Writes and proves all files, then `export.json` and the model card.

        Returns:
            What stands in `export.json`.

        Raises:
            ExportError: a file broke its bound, or does not run. Those that held their own are
                kept.
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
        entries: list[dict[str, Any]] = []
        failures: list[str] = []
        with (
            tempfile.TemporaryDirectory(prefix=".unproven-", dir=request.out) as staging,
            contextlib.closing(self._file_maker()) as maker,
        ):
            for target in request.targets:
                # Whatever ends the export early: it does not tell of files that are not there.
                self._report(entries, preparation, failures)
                final = request.out / target.name
                # An older file of this name is not what was asked for now, whatever comes.
                _remove(final)
                try:
                    path = Path(staging) / target.name
                    proven = maker.make(target, path)
                except ExportError as error:
                    failures.append(str(error))
                    print(f"error: {error}", flush=True)
                    continue
                entries.append(make_entry(target, path, proven))
                os.replace(path, final)
                print(describe_entry(entries[-1]), flush=True)
        document = self._report(entries, preparation, failures)
        correct = self.photos.labels == self.reference.on_canvases.argmax(axis=1)
        labelled = int((self.photos.labels >= 0).sum())
        card = model_card(
            self.run.record, self.contract, entries, request.split, int(correct.sum()), labelled
        )
        write_whole(str(request.out / CARD_FILE), card.encode())
        if failures:
            raise ExportError(failures[0])
        return document

    def _file_maker(self) -> FileMaker:
        request = self.request
        return FileMaker(
            network=self.network,
            augmentation=self.run.augmentation,
            settings=self.settings,
            contract=self.contract,
            prover=Prover(
                photos=self.photos,
                reference=self.reference,
                split=request.split,
                num_threads=request.num_threads,
            ),
            data_dir=request.data_dir,
            # Maps of other views would lie beside what they show.
            with_activation=request.with_activation and IDENTITY in self.settings.views,
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
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        write_whole(str(self.request.out / REPORT_FILE), text.encode())
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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
