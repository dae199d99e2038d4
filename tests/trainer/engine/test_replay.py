"""A capsule brings back the very step that failed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.trainer.engine.conftest import Recorder, mirrored, two_stages
from tfrecords_builder.manifest import Manifest
from trainer.engine.replaying import SeenAgain, replay_capsule
from trainer.engine.tensor_files import read_tensors
from trainer.errors import LossError
from trainer.initial_weights import make_initial_weights
from trainer.progress import Progress
from trainer.run_record import recipe_from_json

StartRun = Callable[..., Progress]


@pytest.fixture(scope="module")
def replayed(
    undisturbed: tuple[Path, Recorder],
    start_run: StartRun,
    data_dir: Path,
    manifest: Manifest,
    tmp_path_factory: pytest.TempPathFactory,
) -> SimpleNamespace:
    """A run from given weights on 2 replicas that was rolled back once, and its replay."""
    recipe = two_stages(weights=str(undisturbed[0] / "model.safetensors"))
    head = replace(
        recipe.stages[0], learning_rate=3e3, train_from="all", batch_norm="train", epochs=9
    )
    recipe, recorder = replace(recipe, stages=(head,)), Recorder()
    with pytest.raises(LossError) as caught:
        start_run(
            tmp_path_factory.mktemp("exploding"),
            recipe=recipe,
            strategy=mirrored(2),
            recorder=recorder,
            batch_scaling="per_replica",
            initial_weights=make_initial_weights(recipe, manifest),
            max_steps_per_call=1,
            max_rollbacks=1,
        )
    facts = json.loads((Path(caught.value.capsule) / "capsule.json").read_text())
    losses: list[float] = []
    stored = recipe_from_json(facts["recipe"])
    seen = replay_capsule(
        caught.value.capsule,
        facts,
        stored,
        manifest,
        str(data_dir),
        mirrored(2),
        make_initial_weights(stored, manifest),
        lambda plan, step, loss: losses.append(loss),
    )
    return SimpleNamespace(
        capsule=Path(caught.value.capsule),
        message=str(caught.value),
        facts=facts,
        recipe=stored,
        seen=seen,
        ours=losses,
        run=recorder.losses,
    )


def test_a_replay_takes_the_steps_of_the_run(replayed: SimpleNamespace) -> None:
    # Those behind the rollback, at half the rate.
    assert 0 < len(replayed.ours) < len(replayed.run)
    np.testing.assert_array_equal(replayed.ours, replayed.run[-len(replayed.ours) :])


def test_a_replay_fails_in_the_step_of_the_run_on_the_same_photos(
    replayed: SimpleNamespace,
) -> None:
    (batch,) = replayed.facts["batches"]
    assert replayed.seen == SeenAgain(
        step=batch["step"],
        loss=replayed.facts["loss"],
        ids=tuple(batch["ids"]),
        same_photos=True,
    )
    assert len(batch["ids"]) == 2 * 19  # Two replicas of 19.


def test_a_replay_that_goes_through_ends_with_the_step_that_failed(
    replayed: SimpleNamespace, manifest: Manifest, data_dir: Path
) -> None:
    (head,) = replayed.recipe.stages
    gentle = replace(replayed.recipe, stages=(replace(head, learning_rate=1e-5),))
    steps: list[int] = []
    seen = replay_capsule(
        str(replayed.capsule),
        replayed.facts,
        gentle,
        manifest,
        str(data_dir),
        mirrored(2),
        make_initial_weights(gentle, manifest),
        lambda plan, step, loss: steps.append(step),
    )
    assert seen is None
    assert steps == list(range(replayed.facts["batches"][0]["step"] + 1))


def test_the_rate_that_is_recommended_is_lower_than_that_of_the_recipe(
    replayed: SimpleNamespace,
) -> None:
    assert "--set stages.head.learning_rate=1e+03" in replayed.message  # A third of 3e3.


def test_a_rollback_is_kept_with_the_checkpoint(replayed: SimpleNamespace) -> None:
    (checkpoint,) = (replayed.capsule / "checkpoints").iterdir()
    progress = Progress.from_json(read_tensors(str(checkpoint))[1]["progress"])
    assert progress.rate_factor == 0.5
