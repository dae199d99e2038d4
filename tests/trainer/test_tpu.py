"""The way to a TPU with fakes in its place: what is called, in which order, and what is refused."""

import subprocess
from types import SimpleNamespace

import pytest
import tensorflow as tf

import trainer.tpu
from trainer.devices import make_strategy
from trainer.errors import DeviceError
from trainer.tpu import compiles_with_xla, require_importable


class FakeTpus:
    """TensorFlow's TPU calls, written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, num_cores: int = 8):
        self.calls: list[str] = []
        strategy = SimpleNamespace(num_replicas_in_sync=num_cores)

        def record(name: str, result: object = None) -> object:
            def call(*arguments: object, **named: object) -> object:
                self.calls.append(f"{name} {named['tpu']}" if "tpu" in named else name)
                return result

            return call

        module = tf.distribute.cluster_resolver
        monkeypatch.setattr(module, "TPUClusterResolver", record("resolve"))
        monkeypatch.setattr(
            tf.config, "experimental_connect_to_cluster", record("connect"), raising=False
        )
        monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", record("initialize"))
        monkeypatch.setattr(tf.distribute, "TPUStrategy", record("strategy", strategy))


def test_a_local_tpu_is_initialised_before_its_strategy_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeTpus(monkeypatch)
    assert make_strategy("tpu").num_replicas_in_sync == 8
    assert fake.calls == ["resolve local", "initialize", "strategy"]


@pytest.mark.parametrize("address", ["my-tpu", "grpc://10.0.0.2:8470"])
def test_a_remote_tpu_is_connected_to_first(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTpus(monkeypatch)
    make_strategy("tpu", tpu=address)
    assert fake.calls == [f"resolve {address}", "connect", "initialize", "strategy"]


def test_auto_takes_the_tpu_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTpus(monkeypatch)
    monkeypatch.setenv("TPU_NAME", "my-tpu")
    make_strategy("auto")
    assert fake.calls[0] == "resolve my-tpu"


def test_auto_takes_the_tpu_that_the_command_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTpus(monkeypatch)
    monkeypatch.setenv("TPU_NAME", "another")
    make_strategy("auto", tpu="grpc://10.0.0.2:8470")
    monkeypatch.delenv("TPU_NAME")
    make_strategy("auto", tpu="grpc://10.0.0.2:8470")
    assert [call for call in fake.calls if call.startswith("resolve")] == [
        "resolve grpc://10.0.0.2:8470"
    ] * 2


def test_a_tpu_without_cores_is_an_error_and_not_a_run_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeTpus(monkeypatch, num_cores=0)
    with pytest.raises(DeviceError, match=r"--strategy=tpu --tpu=local: not there .*no cores"):
        make_strategy("tpu")


def test_a_part_of_the_tpu_is_an_error_where_the_whole_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeTpus(monkeypatch, num_cores=4)
    assert make_strategy("tpu", num_devices=4).num_replicas_in_sync == 4
    with pytest.raises(DeviceError, match="--num_devices=16: TensorFlow sees 4 cores"):
        make_strategy("tpu", num_devices=16)


@pytest.mark.parametrize(
    ("returncode", "reason"), [(-6, "SIGABRT ends it"), (1, "ImportError: libtpu")]
)
def test_a_libtpu_that_does_not_fit_is_found_in_another_process(
    returncode: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.tpu, "has_tpu_build", lambda: True)
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda *arguments, **named: SimpleNamespace(
            returncode=returncode, stderr="Traceback\nImportError: libtpu"
        ),
    )
    with pytest.raises(DeviceError, match=reason) as caught:
        require_importable()
    assert "libtpu==0.0.10" in str(caught.value)


def test_other_builds_of_tensorflow_are_not_imported_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.tpu, "has_tpu_build", lambda: False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("was started"))
    require_importable()


@pytest.mark.parametrize(
    ("wanted", "on_gpu", "on_tpu", "tpu_build", "expected"),
    [
        (None, False, False, False, False),
        (None, True, False, False, True),
        (None, False, True, True, False),
        (None, True, False, True, False),
        (True, False, False, False, True),
        (False, True, False, False, False),
        (False, False, True, True, False),
    ],
)
def test_xla_is_ours_on_gpus_and_where_it_was_asked_for(
    wanted: bool | None, on_gpu: bool, on_tpu: bool, tpu_build: bool, expected: bool
) -> None:
    devices = {"on_gpu": on_gpu, "on_tpu": on_tpu, "tpu_build": tpu_build}
    assert compiles_with_xla(wanted, **devices, num_replicas=1) is expected
    if not wanted or on_gpu:
        assert compiles_with_xla(wanted, **devices, num_replicas=2) is expected


@pytest.mark.parametrize(("on_tpu", "tpu_build"), [(True, True), (False, True), (True, False)])
def test_xla_under_the_build_for_tpus_is_refused(on_tpu: bool, tpu_build: bool) -> None:
    with pytest.raises(DeviceError, match="leave --xla out"):
        compiles_with_xla(True, on_gpu=False, on_tpu=on_tpu, tpu_build=tpu_build, num_replicas=1)


def test_xla_on_several_cpu_devices_is_refused() -> None:
    with pytest.raises(DeviceError, match="2 replicas on CPUs"):
        compiles_with_xla(True, on_gpu=False, on_tpu=False, tpu_build=False, num_replicas=2)
