"""Writing one record file: what goes wrong in the writing thread reaches the caller."""

import errno
import os
from pathlib import Path

import pytest

from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.plan import PlannedPhoto, ShardPlan
from tfrecords_builder.shard_writer import write_shard
from tfrecords_builder.sources.folder import FolderSource


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_ends_the_shard(photo_folder: Path, tmp_path: Path) -> None:
    source = FolderSource(images=str(photo_folder))
    photos = tuple(PlannedPhoto(photo=photo, label=0) for photo in source.list_photos().photos)
    path = tmp_path / "shard"
    (tmp_path / f"shard.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_shard(
            ShardPlan(file=path.name, split="train", photos=photos),
            str(path),
            source=source,
            settings=EncodingSettings(),
            input_hash="",
        )
    assert not path.exists()
