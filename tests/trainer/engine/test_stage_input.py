"""Where a stage keeps its photos."""

from pathlib import Path

import pytest
import tensorflow as tf

from tests.trainer.engine.conftest import two_stages
from tfrecords_builder.manifest import Manifest
from trainer.engine.stage_input import StageInput
from trainer.errors import DataError
from trainer.input.canvases import canvas_bytes, canvas_px_of
from trainer.plan import plan_stages


@pytest.mark.parametrize("missing", [0, 1])
def test_the_photos_of_all_splits_need_room_on_the_disk_together(
    missing: int,
    one_device: tf.distribute.Strategy,
    manifest: Manifest,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = [manifest.splits[name].num_examples for name in ("train", "val")]
    plan = plan_stages(two_stages(), num_examples=counts[0], num_replicas=1)[0]
    num_bytes = canvas_bytes(sum(counts), canvas_px_of(plan.stage.image_px))
    monkeypatch.setattr("trainer.input.room.free_disk", lambda: num_bytes - missing)
    stage_input = StageInput(one_device, manifest, str(data_dir), "disk", seed=0)
    if missing:
        with pytest.raises(DataError, match="need room for them"):
            stage_input.open(plan)
    else:
        stage_input.open(plan)
        assert stage_input.train.num_examples == counts[0]
