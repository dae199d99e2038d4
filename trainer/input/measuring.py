"""How fast this host reads, decodes, gathers, augments and ships the photos of a stage."""

import dataclasses
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from tfrecords_builder import storage
from tfrecords_builder.manifest import Split
from trainer.augment.batch import augment_batch
from trainer.input.canvases import Canvases, canvas_px_of
from trainer.input.decoding import decode_canvas
from trainer.input.diagnosis import StageRates
from trainer.input.feed import train_feed
from trainer.input.reading import NUM_FETCHES, RecordReader
from trainer.order import Order
from trainer.plan import StagePlan, plan_stages
from trainer.recipe import Recipe, Stage

_NUM_SAMPLES = 256
_MAX_ROWS_BYTES = 256 * 2**20
_MAX_ROWS = 64
_ENDLESS = 10_000


def choose_records(split: Split, whole_shards: bool) -> tuple[list[int], int]:
    """Records to read for a measurement, and how many are fetched for it.

    Args:
        split: of the records.
        whole_shards: these are fetched, as from a bucket: the records are those of some shards, as
            many as are fetched at once, and all in these count.
    """
    rng = np.random.default_rng(0)
    if not whole_shards:
        chosen = rng.permutation(split.num_examples)[:_NUM_SAMPLES]
        return chosen.tolist(), len(chosen)
    starts = np.cumsum([0] + [shard.num_examples for shard in split.shards])
    filled = np.flatnonzero(np.diff(starts))
    rows = [
        starts[number] + rng.permutation(split.shards[number].num_examples)
        for number in rng.permutation(filled)[:NUM_FETCHES]
    ]
    # The first of each shard, then the second of each, and so on: none is left out.
    ranks = np.concatenate([np.arange(len(part)) for part in rows])
    chosen = np.concatenate(rows)[np.argsort(ranks, kind="stable")][:_NUM_SAMPLES]
    return chosen.tolist(), len(ranks)


class HostMeter:
    """Measures stage by stage; what does not depend on the size is measured once.

    Args:
        data_dir: built records, local or gs://.
        split: photos to measure with.
        recipe: whose stages are asked for.
        seconds: how long each measurement takes at least; but that of reading, which goes once
            through some records: the second time they would come from memory.
        num_threads: cores to use.
    """

    def __init__(
        self,
        data_dir: str,
        split: Split,
        recipe: Recipe,
        seconds: float,
        num_threads: int | None = None,
    ):
        self._data_dir = data_dir
        self._split = split
        self._recipe = recipe
        self._seconds = seconds
        self._num_threads = num_threads or os.cpu_count() or 1
        self._sample, self._num_read = choose_records(split, storage.is_remote(data_dir))
        self._photos: list[bytes] = []
        self._read_per_sec = 0.0

    @property
    def has_accelerator(self) -> bool:
        """Whether `transfer_mib_per_sec` is the way to a device."""
        return bool(tf.config.list_logical_devices("GPU"))

    def measure(self, stage: Stage) -> StageRates:
        """Rates of one stage."""
        canvas_px = canvas_px_of(stage.image_px)
        if not self._photos:
            self._read()
        batch = min(stage.batch_size, _MAX_ROWS) // 2 * 2 or 1
        canvases = np.stack([decode_canvas(data, canvas_px)[0] for data in self._photos[:batch]])
        canvases = np.resize(canvases, (batch, canvas_px, canvas_px, 3))
        return StageRates(
            name=stage.name,
            image_px=stage.image_px,
            read_per_sec=self._read_per_sec,
            decode_per_sec=self._decode(canvas_px),
            gather_per_sec=self._gather(stage, canvas_px),
            augment_per_sec=self._augment(stage, canvases),
            transfer_mib_per_sec=self._transfer(canvases) * canvas_px**2 * 3 / 2**20,
        )

    def _read(self) -> None:
        reader = RecordReader(self._data_dir, self._split)
        with ThreadPoolExecutor(self._num_threads) as pool:
            started = time.perf_counter()
            reader.expect(np.unique(reader.shards_of(np.array(self._sample))).tolist())
            self._photos = [record.image for record in pool.map(reader.read, self._sample)]
            self._read_per_sec = self._num_read / (time.perf_counter() - started)
        reader.close()

    def _decode(self, canvas_px: int) -> float:
        room = np.empty((len(self._photos), canvas_px, canvas_px, 3), np.uint8)
        with ThreadPoolExecutor(self._num_threads) as pool:

            def decode_all() -> int:
                def decode(data: bytes, out: np.ndarray) -> None:
                    decode_canvas(data, canvas_px, out)

                return len(list(pool.map(decode, self._photos, room)))

            return _rate(decode_all, self._seconds)

    def _gather(self, stage: Stage, canvas_px: int) -> float:
        num_rows = max(
            2 * stage.batch_size, min(_MAX_ROWS_BYTES // (canvas_px**2 * 3), 16 * stage.batch_size)
        )
        split = dataclasses.replace(self._split, num_examples=num_rows)
        canvases = Canvases(self._data_dir, split, canvas_px, "memory")
        canvases.fill(np.uint8(127))
        try:
            return self._feed_rate(stage, canvases)
        finally:
            canvases.close()

    def _feed_rate(self, stage: Stage, canvases: Canvases) -> float:
        num_rows = canvases.num_examples
        plan = self._plan(stage, num_rows)
        order = Order(
            seed=0, num_examples=num_rows, batch_size=plan.global_batch, num_epochs=_ENDLESS
        )
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        feed = train_feed(strategy, canvases, order, plan, 0, 0)

        def take_batches() -> int:
            for _ in range(8):
                next(feed)
            return 8 * plan.global_batch

        take_batches()
        return _rate(take_batches, self._seconds)

    def _augment(self, stage: Stage, canvases: np.ndarray) -> float:
        num_rows = len(canvases)
        on_device = tf.constant(canvases)
        aspects, labels = tf.ones([num_rows]), tf.zeros([num_rows, 1])
        seeds = tf.constant(np.arange(2 * num_rows).reshape(num_rows, 2), tf.int32)

        @tf.function(autograph=False)
        def augment() -> tf.Tensor:
            images, _ = augment_batch(
                on_device, aspects, labels, seeds, stage.augmentation, stage.image_px
            )
            return tf.reduce_sum(images[:, ::16, ::16])

        def run() -> int:
            augment().numpy()
            return num_rows

        run()
        return _rate(run, self._seconds)

    def _transfer(self, canvases: np.ndarray) -> float:
        gpus = tf.config.list_logical_devices("GPU")
        device = gpus[0].name if gpus else "/cpu:0"

        def ship() -> int:
            with tf.device(device):
                # One element back tells that all have arrived.
                tf.identity(tf.constant(canvases))[0, 0, 0, 0].numpy()
            return len(canvases)

        ship()
        return _rate(ship, self._seconds)

    def _plan(self, stage: Stage, num_examples: int) -> StagePlan:
        recipe = dataclasses.replace(self._recipe, stages=(stage,), max_replica_batch=None)
        (plan,) = plan_stages(recipe, num_examples=num_examples, num_replicas=1)
        return plan


def _rate(function: Callable[[], int], seconds: float) -> float:
    """What `function` counts, a second: the median over calls that fill `seconds`."""
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        started = time.perf_counter()
        count = function()
        rates.append(count / (time.perf_counter() - started))
    return float(np.median(rates))
