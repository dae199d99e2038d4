"""The contact sheet shows every operation that is on, and only those."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.trainer.augment.conftest import Batch
from trainer.augment.config import Augmentation
from trainer.augment.contact_sheet import (
    StagePreview,
    contact_sheet,
    single_operations,
    write_contact_sheet,
)


def _stage(batch: Batch, config: Augmentation, image_px: int) -> StagePreview:
    return StagePreview(
        name=f"stage of {image_px}",
        augmentation=config,
        image_px=image_px,
        canvases=batch.canvases[:2],
        aspect=batch.aspect[:2],
    )


def test_operations_that_are_on_are_shown_alone_and_surely() -> None:
    config = Augmentation(mirror=0.5, clahe="always", brightness=0.3, resize="pad")
    assert single_operations(config) == {
        "mirror, p 0.5": Augmentation(mirror=1.0, resize="pad"),
        "clahe, always": Augmentation(clahe=1.0, resize="pad"),
        "brightness ±0.3": Augmentation(brightness=0.3, resize="pad"),
    }


def test_nothing_on_shows_nothing() -> None:
    assert single_operations(Augmentation()) == {}


def test_every_operation_has_a_column() -> None:
    everything = Augmentation.from_strength(
        1.0, shift=0.1, zoom=0.1, clahe=0.5, adaptive_gamma=0.5, mixup_alpha=0.2, cutmix_alpha=1.0
    )
    assert len(single_operations(everything)) == 14


def test_sheet_has_a_block_per_stage(batch: Batch) -> None:
    one = contact_sheet([_stage(batch, Augmentation(), 16)], cell_px=20)
    two = contact_sheet(
        [_stage(batch, Augmentation(mirror=0.5), 16), _stage(batch, Augmentation(), 24)], cell_px=20
    )
    assert one.dtype == np.uint8
    assert two.shape[0] == 2 * one.shape[0]
    assert two.shape[1] == one.shape[1] + 26


def test_first_column_is_the_canvas(batch: Batch) -> None:
    sheet = contact_sheet([_stage(batch, Augmentation(), 16)], cell_px=40)
    rows = np.flatnonzero((sheet[:, 6:46] == batch.canvases[0][0]).all((1, 2)))
    assert len(rows) == 1
    np.testing.assert_array_equal(sheet[rows[0] : rows[0] + 40, 6:46], batch.canvases[0])


def test_written_file_is_a_png(batch: Batch, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    write_contact_sheet(str(path), [_stage(batch, Augmentation(), 16)], cell_px=20)
    with Image.open(path) as image:
        assert image.format == "PNG"
