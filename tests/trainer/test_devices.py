"""What the environment says about other processes."""

import json
from collections.abc import Callable

import pytest
import tensorflow as tf

from trainer.devices import describe, is_chief, make_strategy, num_workers
from trainer.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes TensorFlow see so many GPUs, and no TPU or cluster be near."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr("trainer.devices.tpu_is_near", lambda: False)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: None)

    def see(num_gpus: int) -> None:
        found = [
            tf.config.PhysicalDevice(f"/physical_device:GPU:{index}", "GPU")
            for index in range(num_gpus)
        ]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found)

    return see


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


@pytest.mark.parametrize("strategy", ["cpu", "gpu", "mirrored", "multiworker"])
def test_a_named_tpu_is_never_passed_over(strategy: str, gpus: Callable[[int], None]) -> None:
    gpus(1)
    with pytest.raises(DeviceError, match=rf"--tpu=grpc://x:1 with --strategy={strategy}"):
        make_strategy(strategy, tpu="grpc://x:1")


@pytest.mark.parametrize(
    ("strategy", "num_gpus", "num_devices", "reason"),
    [
        ("cpu", 0, 4, "--num_devices=4 with --strategy=cpu: that is one device"),
        ("gpu", 4, 4, "--num_devices=4 with --strategy=gpu: that is one device"),
        ("auto", 0, 4, "--num_devices=4 with --strategy=auto, here cpu: that is one device"),
        ("auto", 1, 2, "--num_devices=2 with --strategy=auto, here gpu: that is one device"),
        ("auto", 2, 3, "only 2 GPUs are visible"),
        ("multiworker", 0, 1, "--num_devices=1 with --strategy=multiworker: that is"),
    ],
)
def test_a_number_of_devices_is_obeyed_or_an_error(
    strategy: str, num_gpus: int, num_devices: int, reason: str, gpus: Callable[[int], None]
) -> None:
    gpus(num_gpus)
    with pytest.raises(DeviceError, match=reason):
        make_strategy(strategy, num_devices)


def test_one_device_is_what_one_device_has(gpus: Callable[[int], None]) -> None:
    gpus(0)
    for strategy in ("cpu", "auto"):
        assert make_strategy(strategy, 1).num_replicas_in_sync == 1


def test_auto_takes_as_many_of_the_gpus_as_were_asked_for(
    gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(4)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: devices)
    assert make_strategy("auto", 2) == ["/gpu:0", "/gpu:1"]
    assert make_strategy("auto") == ["/gpu:0", "/gpu:1", "/gpu:2", "/gpu:3"]


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
