"""What does each operation do to a picture?

    python benchmarks/augment_gallery.py [--output=docs/pictures/augmentation.jpg] [--seed=3]

Draws the contact sheet of docs/augmentation.md from rendered cars.
"""

import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from tfrecords_builder.sources.synthetic import SyntheticSource  # noqa: E402
from trainer.augment.config import Augmentation  # noqa: E402

STAGES = {
    "strength 0.5": Augmentation.from_strength(
        0.5, adaptive_gamma=0.5, clahe=0.5, mixup_alpha=0.4, cutmix_alpha=1.0
    ),
    "strength 1, bars, CLAHE always": Augmentation.from_strength(
        1.0, resize="pad", pad_value=114, shift=0.1, zoom=0.1, clahe="always"
    ),
}
NUM_PHOTOS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=str(REPOSITORY / "docs/pictures/augmentation.jpg"))
    parser.add_argument("--seed", type=int, default=3)
    flags = parser.parse_args()

    from trainer.augment.contact_sheet import StagePreview, contact_sheet
    from trainer.input.canvases import canvas_px_of
    from trainer.input.decoding import decode_canvas

    source = SyntheticSource(num_images=40, image_px=320)
    photos = [photo for photo in source.list_photos().photos if photo.class_name]
    encoded = [source.read(photo) for photo in photos[:: len(photos) // NUM_PHOTOS][:NUM_PHOTOS]]

    def preview(name: str, augmentation: Augmentation, image_px: int) -> StagePreview:
        decoded = [decode_canvas(photo, canvas_px_of(image_px)) for photo in encoded]
        return StagePreview(
            name=name,
            augmentation=augmentation,
            image_px=image_px,
            canvases=np.stack([canvas for canvas, _ in decoded]),
            aspect=np.float32([aspect for _, aspect in decoded]),
        )

    previews = [
        preview(name, augmentation, image_px)
        for (name, augmentation), image_px in zip(STAGES.items(), (160, 224), strict=True)
    ]
    sheet = contact_sheet(previews, cell_px=96, seed=flags.seed)
    Image.fromarray(sheet).save(flags.output, quality=88)
    print(flags.output)


if __name__ == "__main__":
    main()
