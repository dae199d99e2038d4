"""Rendered cars as a source: no download, no disk, any number of photos from one seed."""

import io
from dataclasses import dataclass

import numpy as np

from tfrecords_builder.errors import UserError
from tfrecords_builder.manifest import Submission
from tfrecords_builder.rendering.bodies import BODY_TYPES
from tfrecords_builder.rendering.render import render_car
from tfrecords_builder.sources.base import Listing, Photo

_RENDERER_VERSION = 2
"""Raise it when the same seed gives other pixels: builds made before are then made again."""
_TEST_SHARE = 10
"""One photo in this many goes without its label into the test split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSource:
    """`num_images` rendered cars, the ten body types equally often.

    Photo i is a pure function of (seed, i), rendered in the worker that asks for it. The last
    tenth has no labels and becomes the test split of a made-up competition.
    """

    num_images: int
    seed: int = 0
    image_px: int = 192
    """Longer side of the photos."""

    def list_photos(self) -> Listing:
        """Lists all photos; renders none.

        Raises:
          UserError: too few photos to give every class two with a label, a negative seed, or
            photos too small to show a car.
        """
        if self.seed < 0:
            raise UserError(f"seed={self.seed} is negative; use 0 or more")
        if self.image_px < 16:
            raise UserError(
                f"rendered photos of {self.image_px} px show no car; use at least 16 px"
            )
        num_test = self.num_images // _TEST_SHARE
        num_labelled = self.num_images - num_test
        if num_labelled < 2 * len(BODY_TYPES):
            needed = 2 * len(BODY_TYPES) * _TEST_SHARE // (_TEST_SHARE - 1)
            raise UserError(
                f"num_images={self.num_images} is too few for {len(BODY_TYPES)} classes; "
                f"use at least {needed}"
            )
        photos = tuple(
            Photo(
                id=f"car-{index:06d}.jpg",
                class_name=_body_type(index) if index < num_labelled else None,
                locator=str(index),
                version=f"renderer {_RENDERER_VERSION}, seed {self.seed}, {self.image_px} px",
                split=None if index < num_labelled else "test",
            )
            for index in range(self.num_images)
        )
        return Listing(
            photos=photos,
            submission=Submission(id_column="Id", label_column="Category") if num_test else None,
            class_names=BODY_TYPES,
            description={
                "kind": "synthetic",
                "num_images": str(self.num_images),
                "seed": str(self.seed),
                "image_px": str(self.image_px),
            },
        )

    def read(self, photo: Photo) -> bytes:
        """Renders one listed photo and returns it as a JPEG."""
        index = int(photo.locator)
        rng = np.random.default_rng([self.seed, index])
        image = render_car(_body_type(index), rng, self.image_px)
        encoded = io.BytesIO()
        image.save(encoded, format="JPEG", quality=int(rng.integers(70, 96)))
        return encoded.getvalue()


def _body_type(index: int) -> str:
    return BODY_TYPES[index % len(BODY_TYPES)]
