import io
import pickle
from collections import Counter

import pytest
from PIL import Image

from tfrecords_builder.errors import UserError
from tfrecords_builder.rendering.bodies import BODY_TYPES
from tfrecords_builder.sources.synthetic import SyntheticSource


def test_classes_are_balanced_and_ids_unique():
    listing = SyntheticSource(num_images=300).list_photos()
    labelled = [photo for photo in listing.photos if photo.split is None]
    assert Counter(photo.class_name for photo in labelled) == dict.fromkeys(BODY_TYPES, 27)
    assert len({photo.id for photo in listing.photos}) == 300
    assert listing.class_names == BODY_TYPES


def test_last_tenth_is_a_test_split_without_labels():
    listing = SyntheticSource(num_images=300).list_photos()
    assert [photo.split for photo in listing.photos[-30:]] == ["test"] * 30
    assert {photo.class_name for photo in listing.photos[-30:]} == {None}
    assert listing.submission is not None


def test_photo_depends_on_seed_and_index_only():
    photos = SyntheticSource(num_images=40).list_photos().photos
    few, many = (
        SyntheticSource(num_images=40, image_px=64),
        SyntheticSource(num_images=90, image_px=64),
    )
    assert few.read(photos[7]) == many.read(photos[7])
    assert few.read(photos[7]) == pickle.loads(pickle.dumps(few)).read(photos[7])
    assert few.read(photos[7]) != few.read(photos[17])
    assert few.read(photos[7]) != SyntheticSource(num_images=40, seed=1, image_px=64).read(
        photos[7]
    )


def test_photo_is_an_rgb_jpeg_of_the_asked_size():
    source = SyntheticSource(num_images=40, image_px=80)
    with Image.open(io.BytesIO(source.read(source.list_photos().photos[0]))) as image:
        assert (image.format, image.mode, max(image.size)) == ("JPEG", "RGB", 80)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SyntheticSource(num_images=5), "num_images=5 is too few for 10 classes; use at least 22"),
        (SyntheticSource(num_images=40, seed=-1), "seed=-1 is negative"),
        (SyntheticSource(num_images=40, image_px=8), "at least 16 px"),
    ],
)
def test_unusable_settings_are_user_errors(source, message):
    with pytest.raises(UserError, match=message):
        source.list_photos()


def test_the_smallest_number_named_is_enough():
    assert len(SyntheticSource(num_images=22).list_photos().photos) == 22
