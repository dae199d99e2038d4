"""What the environment says about other processes."""

import json

import pytest
import tensorflow as tf

from trainer.devices import describe, is_chief, make_strategy, num_workers
from trainer.errors import DeviceError


@pytest.mark.parametrize("text", ["{worker}", "[1]", '"w"'])
def test_a_tf_config_that_is_not_json_is_an_error(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(DeviceError, match=r"TF_CONFIG=.* is not understood"):
        make_strategy("multiworker")


@pytest.mark.parametrize("config", [{}, {"cluster": {"worker": ["localhost:1"]}}])
def test_several_workers_need_a_cluster_and_a_task(
    config: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(DeviceError, match="needs TF_CONFIG with a cluster and this task"):
        make_strategy("multiworker")


def test_a_single_process_is_its_own_chief() -> None:
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert is_chief(strategy)
    assert num_workers(strategy) == 1


def test_what_runs_on_the_cpu_of_a_machine_with_a_gpu_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"device_name": "Tesla T4"}
    )
    assert "on CPU with" in describe(tf.distribute.OneDeviceStrategy("/cpu:0"))
    assert "on Tesla T4" in describe(tf.distribute.OneDeviceStrategy("/gpu:0"))
