"""The read rate is that of a first epoch: each record once, a bucket's shards as they come."""

import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from tests.trainer.making import make_recipe
from tfrecords_builder.manifest import Shard, Split
from trainer.input.measuring import HostMeter, choose_records

SECS_PER_READ = 0.002


def split_of(num_shards: int, num_rows: int) -> Split:
    shards = tuple(
        Shard(
            file=f"train-{number}",
            num_examples=num_rows,
            num_bytes=num_rows,
            sha256="",
            offsets=tuple(range(num_rows)),
        )
        for number in range(num_shards)
    )
    return Split(
        name="train",
        num_examples=num_shards * num_rows,
        class_counts=(num_shards * num_rows,),
        labelled=True,
        shards=shards,
    )


def test_no_record_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[int] = Counter()

    class SlowAtFirst:
        """As a page cache makes every medium."""

        def __init__(self, data_dir: str, split: Split):
            pass

        def shards_of(self, indices: np.ndarray) -> np.ndarray:
            return indices // 100

        def expect(self, shards: list[int]) -> None:
            pass

        def read(self, index: int) -> SimpleNamespace:
            time.sleep(0 if reads[index] else SECS_PER_READ)
            reads[index] += 1
            return SimpleNamespace(image=b"")

        def close(self) -> None:
            pass

    monkeypatch.setattr("trainer.input.measuring.RecordReader", SlowAtFirst)
    meter = HostMeter("data", split_of(4, 100), make_recipe(), seconds=1.0, num_threads=1)
    meter._read()
    assert set(reads.values()) == {1}
    assert len(reads) == 256
    assert meter._read_per_sec < 1 / SECS_PER_READ


def test_local_records_are_taken_from_everywhere() -> None:
    split = split_of(40, 100)
    chosen, num_read = choose_records(split, whole_shards=False)
    assert num_read == len(chosen) == len(set(chosen)) == 256
    assert len({index // 100 for index in chosen}) > 30


@pytest.mark.parametrize(("num_shards", "expected"), [(3, 3), (40, 8)])
def test_all_records_that_come_with_a_bucket_s_shards_count(num_shards: int, expected: int) -> None:
    chosen, num_read = choose_records(split_of(num_shards, 100), whole_shards=True)
    assert len({index // 100 for index in chosen}) == expected
    assert num_read == expected * 100
    assert len(chosen) == len(set(chosen)) == 256


def test_a_split_smaller_than_the_sample_is_read_whole() -> None:
    for whole_shards in (False, True):
        chosen, num_read = choose_records(split_of(2, 5), whole_shards=whole_shards)
        assert sorted(chosen) == list(range(10))
        assert num_read == 10
