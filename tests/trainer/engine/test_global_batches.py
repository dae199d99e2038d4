"""The same examples stand in the same global batches, on whatever and after whatever restart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.processes import free_ports, worker_environments
from tests.trainer.engine.conftest import mirrored
from tests.trainer.engine.global_batches import NUM_STEPS, global_batches

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def on_one() -> list[list[list[int]]]:
    batches = global_batches(mirrored(1))
    assert [len(batch) for batch in batches] == [12] * NUM_STEPS
    assert len({tuple(seed) for batch in batches for seed in batch}) == 12 * NUM_STEPS
    return batches


@pytest.mark.parametrize("first_step", range(1, NUM_STEPS))
def test_a_resume_goes_on_with_the_very_next_batch(
    first_step: int, on_one: list[list[list[int]]]
) -> None:
    assert global_batches(mirrored(1), first_step) == on_one[first_step:]


@pytest.mark.parametrize("num_replicas", [2, 4])
def test_replicas_share_the_same_batches(num_replicas: int, on_one: list[list[list[int]]]) -> None:
    assert global_batches(mirrored(num_replicas)) == on_one


@pytest.mark.slow
def test_two_processes_share_the_same_batches(on_one: list[list[list[int]]]) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trainer.engine.global_batches"],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        for environment in worker_environments(2, free_ports(2), num_cores=2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert json.loads(outputs[0]) == on_one
