"""What a process alone decides by itself, and what a disagreement looks like."""

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from trainer.engine.workers import Verdict, Workers
from trainer.errors import ClusterError, RunFolderError


class Scripted(Workers):
    """Workers whose exchanges are written down: each gather gives the next array."""

    def __init__(self, *answers: list[list[int]], is_chief: bool = True):
        super().__init__(tf.distribute.get_strategy())
        self._answers: Iterator[list[list[int]]] = iter(answers)
        self._is_chief = is_chief
        self.events: list[str] = []

    def gather(self, *numbers: int) -> np.ndarray:
        self.events.append("gather")
        return np.array(next(self._answers, [[0], [0]]))


def test_a_single_process_decides_by_itself() -> None:
    workers = Workers(tf.distribute.get_strategy())
    verdict = Verdict(stops=True, saves=True, num_steps=7)
    assert workers.agree(verdict) == verdict
    workers.wait()
    assert workers.chief_first(lambda: 5) == 5
    workers.require_same("data", "a", "copy it")


def test_one_worker_that_must_stop_stops_all_and_the_chief_sets_the_pace() -> None:
    workers = Scripted([[0, 1, 9], [1, 0, 3]])
    own = Verdict(stops=False, saves=False, num_steps=1)
    assert workers.agree(own) == Verdict(stops=True, saves=True, num_steps=9)


@pytest.mark.parametrize(
    ("is_chief", "order"),
    [(True, ["action", "gather", "gather"]), (False, ["gather", "action", "gather"])],
)
def test_the_chief_goes_first_and_errors_keep_nobody_waiting(
    is_chief: bool, order: list[str]
) -> None:
    workers = Scripted(is_chief=is_chief)

    def fail() -> None:
        workers.events.append("action")
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        workers.chief_first(fail)
    assert workers.events == order


def test_workers_that_differ_are_named() -> None:
    workers = Scripted([[7], [7], [8]])
    with pytest.raises(RunFolderError, match=r"worker 2 of 3 differ.* in the data.*copy it"):
        workers.require_same("the data", "anything", "copy it")


def test_a_lost_worker_is_a_reason_to_start_again_and_not_a_defect() -> None:
    reset = tf.errors.UnavailableError(None, None, "{{function_node f}} connection reset\nmore")
    workers = Scripted()
    with pytest.raises(tf.errors.UnavailableError), workers.names_a_lost_worker():
        raise reset
    workers._num_workers = 2
    with (
        pytest.raises(ClusterError, match=r"is gone \(connection reset\)") as caught,
        workers.names_a_lost_worker(),
    ):
        raise reset
    assert caught.value.exit_code == 74
