"""The tables that speak of the same machines speak of them in the same way."""

import pytest

from launch.planning.prices import KAGGLE_HOURS, USD_PER_HOUR
from trainer.accelerators import ACCELERATORS
from trainer.lowering.topologies import TOPOLOGIES


def test_every_machine_has_a_price() -> None:
    assert USD_PER_HOUR.keys() == ACCELERATORS.keys()
    assert KAGGLE_HOURS.keys() < ACCELERATORS.keys()


def test_a_machine_twice_as_large_costs_twice_as_much() -> None:
    # n1-standard-16 with two T4 is twice n1-standard-8 with one.
    assert USD_PER_HOUR["t4x2"] == pytest.approx(2 * USD_PER_HOUR["t4"])
    for cores in (4, 8, 16):
        assert USD_PER_HOUR[f"v5e-{cores}"] == pytest.approx(cores * USD_PER_HOUR["v5e-1"])


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_compiler_and_planner_see_the_same_slice(name: str) -> None:
    accelerator, topology = ACCELERATORS[name], TOPOLOGIES[name]
    assert accelerator.kind == "tpu"
    assert accelerator.num_replicas == topology.num_replicas
    assert accelerator.memory_gib == topology.hbm_gib
