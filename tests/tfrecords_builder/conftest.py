"""What the builder's tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tfrecords_builder.photos import write_photos

# A busy machine is no defect of the code under test.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Folder with three classes of 24 photos each: photos/<class>/<number>.jpg."""
    folder = tmp_path / "photos"
    write_photos(folder, {"coupe": 24, "sedan": 24, "van": 24})
    return folder
