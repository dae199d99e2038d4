"""Data that is permuted in windows: a run that was stopped goes on as if it was not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.engine.conftest import Recorder, assert_same_weights, two_stages
from tests.trainer.input.sharding import cut_into_shards
from tfrecords_builder.manifest import Manifest, Split
from trainer.engine.checkpoints import Checkpoints
from trainer.errors import Preempted
from trainer.input.canvases import Canvases
from trainer.order import Windows, plan_windows
from trainer.progress import Progress
from trainer.recipe import Recipe


def one_stage() -> Recipe:
    recipe = two_stages()
    return replace(recipe, stages=(replace(recipe.stages[0], batch_size=5, epochs=2),))


@pytest.fixture
def sharded(
    data_dir: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Manifest, list[int]]:
    """The training split in 12 shards, 3 a window, and what is gathered of it, in order."""
    split, files = cut_into_shards(data_dir, manifest.splits["train"], 12)
    for name, data in files.items():
        (data_dir / name).write_bytes(data)

    def windows_of(split: Split) -> Windows | None:
        sizes = [shard.num_bytes for shard in split.shards]
        counts = [shard.num_examples for shard in split.shards]
        return plan_windows(counts, sizes, whole_bytes=1, window_bytes=3 * max(sizes))

    gathered: list[int] = []
    gather = Canvases.gather

    def noting(self, indices, epochs=None):
        if self._split.name == "train":
            gathered.extend(indices.tolist())
        return gather(self, indices, epochs)

    monkeypatch.setattr("trainer.engine.stage_input.windows_of", windows_of)
    monkeypatch.setattr(Canvases, "gather", noting)
    # One batch after the other, or those made ahead would be noted in any order.
    monkeypatch.setattr("trainer.input.feed._PARALLEL_BATCHES", 1)
    return replace(manifest, splits=manifest.splits | {"train": split}), gathered


def test_a_windowed_run_stopped_within_an_epoch_is_identical(
    sharded: tuple[Manifest, list[int]], start_run: Callable[..., Progress], tmp_path: Path
) -> None:
    data, gathered = sharded
    whole, parts = Recorder(), Recorder()
    recipe = one_stage()
    start_run(tmp_path / "whole", recipe=recipe, recorder=whole, data=data, cache="none")
    expected = gathered[: 2 * data.splits["train"].num_examples]
    assert sorted(expected) == sorted(2 * list(range(data.splits["train"].num_examples)))

    gathered.clear()
    with pytest.raises(Preempted):
        start_run(
            tmp_path / "parts",
            recipe=recipe,
            recorder=parts,
            data=data,
            cache="none",
            stop_after=3,
            max_steps_per_call=1,
        )
    newest = Checkpoints(str(tmp_path / "parts")).load_newest()
    assert newest is not None
    first_step = newest[1].step
    assert 0 < first_step * 5 < data.splits["train"].num_examples
    gathered.clear()
    start_run(tmp_path / "parts", recipe=recipe, recorder=parts, data=data, cache="none")
    rest = expected[first_step * 5 :]
    assert gathered[: len(rest)] == rest
    assert parts.records == whole.records
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")
