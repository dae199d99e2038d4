"""Shards of a bucket: fetched side by side, ahead, within a bound, and read as local ones are."""

import gc as garbage
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("google.cloud.storage")

from tests.tfrecords_builder.gcs_server import GcsServer
from tests.trainer.input.sharding import cut_into_shards
from tests.trainer.making import build_cars, make_recipe, make_stage
from tfrecords_builder import gcs, storage
from tfrecords_builder.manifest import Shard, Split, load_manifest
from tfrecords_builder.records import frame_parts
from trainer.errors import DataError
from trainer.input.canvases import Canvases
from trainer.input.feed import evaluation_feed, in_index_order, train_feed
from trainer.input.measuring import HostMeter
from trainer.input.reading import FetchedShards, RecordReader, fetched_bytes_limit
from trainer.order import Order, Windows
from trainer.plan import plan_stages

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # The client's open sockets.

BUCKET = "gs://bucket/data"


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    """Rendered cars in a folder whose training split has 11 shards of 4 photos."""
    data_dir = build_cars(tmp_path_factory.mktemp("reading") / "data")
    split, files = cut_into_shards(data_dir, load_manifest(str(data_dir)).splits["train"], 12)
    for name, data in files.items():
        (data_dir / name).write_bytes(data)
    return data_dir, split


@pytest.fixture
def server(cut: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    server = GcsServer()
    data_dir, split = cut
    for shard in split.shards:
        server.put(f"bucket/data/{shard.file}", (data_dir / shard.file).read_bytes())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    gcs._client.cache_clear()
    yield server
    gcs._client()._http.close()
    gcs._client.cache_clear()
    garbage.collect()  # Sockets that are still open are this test's, not the next one's.
    server.shutdown()
    server.server_close()


def test_a_bucket_gives_the_rows_of_the_local_folder(
    server: GcsServer, cut: tuple[Path, Split]
) -> None:
    data_dir, split = cut
    indices = np.random.default_rng(0).permutation(split.num_examples)
    local = Canvases(str(data_dir), split, 16, "memory")
    remote = Canvases(BUCKET, split, 16, "memory")
    np.testing.assert_array_equal(remote.gather(indices).images, local.gather(indices).images)
    assert remote.ids == local.ids
    for canvases in (local, remote):
        canvases.close()


def count_fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the shards that are fetched from now on; the client itself asks for more."""
    fetched: list[str] = []

    def download(path: str, file: BinaryIO) -> None:
        fetched.append(path)
        file.write(storage.read_bytes(path))

    monkeypatch.setattr("trainer.input.reading._download", download)
    return fetched


def test_a_small_split_is_fetched_once_and_at_once(
    server: GcsServer, cut: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, split = cut
    fetched = count_fetches(monkeypatch)
    reader = RecordReader(BUCKET, split)
    for index in np.random.default_rng(0).permutation(split.num_examples):
        reader.read(int(index))
    assert sorted(fetched) == [f"{BUCKET}/{shard.file}" for shard in split.shards]
    reader.close()


def test_failures_that_pass_are_not_noticed(server: GcsServer, cut: tuple[Path, Split]) -> None:
    server.fail_every = 5
    reader = RecordReader(BUCKET, cut[1])
    assert len({reader.read(index).id for index in range(cut[1].num_examples)}) == 44
    reader.close()


def test_a_shard_that_is_gone_is_a_clear_error(server: GcsServer, cut: tuple[Path, Split]) -> None:
    _, split = cut
    del server.objects[f"bucket/data/{split.shards[3].file}"]
    reader = RecordReader(BUCKET, split)
    with pytest.raises(DataError, match=r"cut-003.*copy or build"):
        reader.read(13)
    assert reader.read(0).id
    reader.close()


def shards(num: int, num_bytes: int = 100) -> tuple[Shard, ...]:
    return tuple(
        Shard(file=f"s{n}", num_examples=1, num_bytes=num_bytes, sha256="", offsets=(0,))
        for n in range(num)
    )


def test_shards_are_fetched_side_by_side() -> None:
    started = threading.Barrier(5, timeout=20)
    store = FetchedShards("gs://b", shards(4), 400, lambda path, file: started.wait() and None)
    store.expect(range(4))
    started.wait()  # Breaks unless all four are on their way at the same time.
    store.close()


def test_the_bound_holds_and_the_oldest_make_room() -> None:
    fetched: list[str] = []
    store = FetchedShards("gs://b", shards(9), 300, lambda path, file: fetched.append(path))
    store.expect(range(9))
    assert store.num_bytes == 300
    store.expect([2, 3, 4])
    assert store.num_bytes == 300
    for arriving in store._files.values():
        arriving.result()
    store.close()
    # The third was kept.
    assert sorted(fetched) == [f"gs://b/s{n}" for n in range(5)]
    assert store.num_bytes == 0


def test_more_threads_than_shards_fit_all_get_their_record() -> None:
    def fetch(path: str, file: BinaryIO) -> None:
        time.sleep(0.01)
        file.write(b"".join(frame_parts(path.encode())))

    store = FetchedShards("gs://b", shards(40), 200, fetch)
    with ThreadPoolExecutor(40) as pool:
        read = list(pool.map(lambda number: store.read_frame(number, 0), range(40)))
    store.close()
    assert read == [f"gs://b/s{number}".encode() for number in range(40)]


def test_two_windows_are_kept_of_what_is_too_large() -> None:
    split = Split(name="train", num_examples=9, class_counts=(9,), labelled=True, shards=shards(9))
    assert fetched_bytes_limit(split) == 900
    large = Split(
        name="train",
        num_examples=9,
        class_counts=(9,),
        labelled=True,
        shards=shards(9, num_bytes=3 * 2**30),
    )
    assert fetched_bytes_limit(large) == 6 * 2**30


def test_a_windowed_epoch_fetches_each_shard_once_within_its_bound(
    server: GcsServer, cut: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, split = cut
    windows = Windows(
        shard_examples=tuple(shard.num_examples for shard in split.shards), shards_per_window=2
    )
    canvases = Canvases(BUCKET, split, 16, "none")
    canvases._reader.close()
    limit = 4 * max(shard.num_bytes for shard in split.shards)
    fetched = count_fetches(monkeypatch)
    canvases._reader = RecordReader(BUCKET, split, max_fetched_bytes=limit)
    order = Order(
        seed=1, num_examples=split.num_examples, batch_size=4, num_epochs=1, windows=windows
    )
    (plan,) = plan_stages(
        make_recipe(make_stage(batch_size=4, epochs=1)),
        num_examples=split.num_examples,
        num_replicas=1,
    )
    feed = train_feed(tf.distribute.OneDeviceStrategy("/cpu:0"), canvases, order, plan, 1, 0)
    for _ in range(plan.num_steps):
        next(feed)
        assert canvases._reader._fetched is not None
        assert canvases._reader._fetched.num_bytes <= limit
    assert len(set(canvases.ids)) == split.num_examples
    del feed
    assert sorted(fetched) == [f"{BUCKET}/{shard.file}" for shard in split.shards]
    canvases.close()


class TwoWorkers:
    """Stands in for the strategy of one of two workers: what the evaluation feed asks of it."""

    num_replicas_in_sync = 2
    cluster_resolver = None

    def __init__(self, worker: int):
        self._worker = worker

    def distribute_datasets_from_function(self, make):
        context = tf.distribute.InputContext(2, self._worker, 2)
        return make(context)


@pytest.mark.parametrize("worker", [0, 1])
def test_evaluation_fetches_the_shards_of_its_own_part_only(
    worker: int, server: GcsServer, cut: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, split = cut
    monkeypatch.setattr("trainer.input.feed.num_workers", lambda strategy: 2)
    fetched = count_fetches(monkeypatch)
    canvases = Canvases(BUCKET, split, 16, "none")
    batches = list(evaluation_feed(TwoWorkers(worker), canvases, replica_batch=4))
    canvases.close()
    # 11 shards of 4: six batches for the first, five and one of padding for the second.
    own = split.shards[:6] if worker == 0 else split.shards[6:]
    assert sorted(fetched) == [f"{BUCKET}/{shard.file}" for shard in own]
    assert sum(int(batch.weights.numpy().sum()) for batch in batches) == 4 * len(own)


def test_the_parts_of_two_workers_come_back_in_index_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.input.feed.num_workers", lambda strategy: 2)
    # Step by step: two rows of the first worker, two of the second.
    results = [np.array([0, 1, 4, 5]), np.array([2, 3, 6, 6])]
    assert in_index_order(TwoWorkers(0), results, 7).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_measurement_fetches_as_many_shards_as_come_at_once(
    server: GcsServer, cut: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = count_fetches(monkeypatch)
    meter = HostMeter(BUCKET, cut[1], make_recipe(), seconds=0.1)
    meter._read()
    assert len(fetched) == len(set(fetched)) == 8
    assert meter._read_per_sec > 0
