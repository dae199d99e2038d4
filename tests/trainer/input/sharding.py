"""A built split cut into many small shards, as a large data set has them."""

import dataclasses
import hashlib
from pathlib import Path

from tfrecords_builder.manifest import Shard, Split
from tfrecords_builder.records import frame_parts, make_example, read_records


def cut_into_shards(
    data_dir: Path, split: Split, num_shards: int
) -> tuple[Split, dict[str, bytes]]:
    """Returns the split with other shards, and their files by name."""
    records = [record for shard in split.shards for record in read_records(data_dir / shard.file)]
    size = -(-len(records) // num_shards)
    files, shards = {}, []
    for first in range(0, len(records), size):
        data, offsets = b"", []
        for record in records[first : first + size]:
            offsets.append(len(data))
            data += b"".join(frame_parts(make_example(record)))
        name = f"cut-{len(shards):03d}"
        files[name] = data
        shards.append(
            Shard(
                file=name,
                num_examples=len(offsets),
                num_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                offsets=tuple(offsets),
            )
        )
    return dataclasses.replace(split, shards=tuple(shards)), files
