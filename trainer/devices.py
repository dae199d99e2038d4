"""From `--strategy` to a tf.distribute strategy, and a line that says what it truly runs on."""

import contextlib
import json
import os
from typing import TYPE_CHECKING

from trainer.errors import ClusterError, DeviceError
from trainer.tpu import make_tpu_strategy, tpu_is_near

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("auto", "cpu", "gpu", "mirrored", "multiworker", "tpu")
_LOCAL = "local"
_WITH_NUM_DEVICES = {"mirrored", "tpu"}


def make_strategy(
    name: str, num_devices: int | None = None, tpu: str = _LOCAL
) -> "tf.distribute.Strategy":
    """Makes the strategy that was asked for, or an error; never another one.

    Args:
        name: one of STRATEGIES. `auto` takes a TPU if `tpu` or TPU_NAME names one or the local TPU
            is there, several workers if TF_CONFIG names them, all GPUs if there are any (or
            `num_devices` of several), else the CPU.
        num_devices: of `mirrored`: how many GPUs, all by default. Where there is no GPU, that many
            logical CPU devices (to try things out; must be the first use of TensorFlow). Of `tpu`:
            how many cores there must be, any number by default. `cpu` and `gpu` have 1.
        tpu: of `tpu`: local, a name, or grpc://...

    Raises:
        DeviceError: the devices are not there, or the strategy would pass over what was asked for.
    """
    import tensorflow as tf

    if name not in STRATEGIES:
        raise DeviceError(f"--strategy={name} is not known; need one of {', '.join(STRATEGIES)}")
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    asked = f"--strategy={name}"
    if name == "auto":
        name = _choose(len(gpus)) if tpu == _LOCAL else "tpu"
        asked += f", here {name}"
        if name == "tpu" and tpu == _LOCAL:
            tpu = os.environ.get("TPU_NAME") or tpu
    _check_obeyed(name, asked, num_devices, tpu)
    if name == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if name == "gpu":
        if not gpus:
            raise DeviceError(_missing("gpu", "no GPU is visible to TensorFlow"))
        return tf.distribute.OneDeviceStrategy("/gpu:0")
    if name == "mirrored":
        return _make_mirrored(len(gpus), num_devices)
    if name == "multiworker":
        return _make_multiworker(len(gpus))
    return _make_tpu(tpu, num_devices)


def describe(strategy: "tf.distribute.Strategy") -> str:
    """One line: the kind of strategy, the replicas and the devices behind them."""
    import tensorflow as tf

    kind = type(strategy).__name__.removesuffix("V2").removesuffix("V1")
    if kind == "CollectiveAllReduceStrategy":  # what MultiWorkerMirroredStrategy makes
        kind = "MultiWorkerMirroredStrategy"
    replicas = strategy.num_replicas_in_sync
    workers = num_workers(strategy)
    if kind.startswith("TPU"):
        hardware = f"{replicas} TPU cores"
    elif runs_on_gpus(strategy):
        names = {
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")
        }
        hardware = f"{', '.join(sorted(names))}"
    else:
        hardware = f"CPU with {os.cpu_count()} cores"
    where = f" in {workers} processes, here" if workers > 1 else ""
    return f"{kind}: {replicas} replica{'s' if replicas > 1 else ''}{where} on {hardware}"


def runs_on_gpus(strategy: "tf.distribute.Strategy") -> bool:
    """Whether GPUs are its devices; there may be some that were not asked for."""
    return all("GPU:" in device for device in strategy.extended.worker_devices)


def num_workers(strategy: "tf.distribute.Strategy") -> int:
    """Processes that train together; 1 for every strategy of one process."""
    resolver = strategy.cluster_resolver
    if resolver is None or not _is_multiworker(strategy):
        return 1
    cluster = resolver.cluster_spec().as_dict()
    return max(1, sum(len(cluster.get(job, ())) for job in ("chief", "worker")))


def is_chief(strategy: "tf.distribute.Strategy") -> bool:
    """Whether this process writes; exactly one of several workers does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not _is_multiworker(strategy):
        return True
    if resolver.task_type == "worker":
        has_chief = "chief" in resolver.cluster_spec().as_dict()
        return resolver.task_id == 0 and not has_chief
    return bool(resolver.task_type == "chief")


def _is_multiworker(strategy: "tf.distribute.Strategy") -> bool:
    # A TPU's resolver names hosts too, but one process drives them all.
    return type(strategy).__name__.startswith(("CollectiveAllReduce", "MultiWorkerMirrored"))


def _choose(num_gpus: int) -> str:
    if tpu_is_near():
        return "tpu"
    cluster = _tf_config().get("cluster", {})
    if sum(len(cluster.get(job, ())) for job in ("chief", "worker")) > 1:
        return "multiworker"
    return {0: "cpu", 1: "gpu"}.get(num_gpus, "mirrored")


def _check_obeyed(name: str, asked: str, num_devices: int | None, tpu: str) -> None:
    """Raises DeviceError where the strategy would pass over the other two without a word."""
    if tpu != _LOCAL and name != "tpu":
        raise DeviceError(
            f"--tpu={tpu} with {asked}: that trains on no TPU; need --strategy=tpu or auto; "
            "change it, or leave --tpu out"
        )
    own = {"cpu": 1, "gpu": 1}.get(name)
    if num_devices in (None, own) or name in _WITH_NUM_DEVICES:
        return
    kind = "one device" if own else "the devices of each process"
    raise DeviceError(
        f"--num_devices={num_devices} with {asked}: that is {kind}; need --strategy=mirrored for "
        "so many GPUs (or, without a GPU, pieces of the CPU), or tpu; change it, or leave "
        "--num_devices out"
    )


def _make_mirrored(num_gpus: int, num_devices: int | None) -> "tf.distribute.Strategy":
    import tensorflow as tf

    if num_gpus:
        wanted = num_devices or num_gpus
        if wanted > num_gpus:
            raise DeviceError(
                _missing(
                    f"mirrored with --num_devices={wanted}", f"only {num_gpus} GPUs are visible"
                )
            )
        return tf.distribute.MirroredStrategy([f"/gpu:{index}" for index in range(wanted)])
    if num_devices is None:
        raise DeviceError(_missing("mirrored", "no GPU is visible to TensorFlow"))
    _split_cpu(num_devices)
    if len(tf.config.list_logical_devices("CPU")) < num_devices:
        raise DeviceError(
            f"--num_devices={num_devices} on CPUs needs as many logical devices, made before "
            "TensorFlow starts; "
            "run it as a command of its own"
        )
    return tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(num_devices)])


def _split_cpu(num_devices: int) -> None:
    """Makes logical CPU devices, unless TensorFlow has started or others were made."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is not None:
        return
    # TensorFlow has started, with the one device that it has by default.
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * num_devices
        )


def _tf_config() -> dict:
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise DeviceError(
            f"TF_CONFIG={text[:80]!r} is not understood; need JSON with a cluster and this task; "
            "unset it, or let the platform or launch.local set it"
        )
    return config


def _make_multiworker(num_gpus: int) -> "tf.distribute.Strategy":
    import tensorflow as tf

    config = _tf_config()
    if not config.get("cluster") or "task" not in config:
        raise DeviceError(
            "--strategy=multiworker needs TF_CONFIG with a cluster and this task; it is not set; "
            "the platform sets it on several machines, launch.local on this one"
        )
    kind = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=kind.NCCL if num_gpus else kind.RING
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.UnknownError as error:
        # All that TensorFlow says when the port is taken.
        if "gRPC server" not in str(error):
            raise
        raise ClusterError(
            f"this worker cannot listen at its address in TF_CONFIG ({config}); need a free port "
            "there; take another one for it on every worker and start all again"
        ) from error


def _make_tpu(tpu: str, num_devices: int | None) -> "tf.distribute.Strategy":
    import tensorflow as tf

    try:
        strategy = make_tpu_strategy(tpu)
    except (ValueError, tf.errors.OpError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DeviceError(_missing(f"tpu --tpu={tpu}", reason)) from error
    num_cores = strategy.num_replicas_in_sync
    if num_devices not in (None, num_cores):
        raise DeviceError(
            f"--strategy=tpu with --num_devices={num_devices}: TensorFlow sees {num_cores} cores; "
            "need all of them in one process; take a slice of one host, or leave --num_devices out"
        )
    return strategy


def _missing(wanted: str, reason: str) -> str:
    return (
        f"--strategy={wanted}: not there ({reason}); need that device and its TensorFlow extra; "
        "use --strategy=auto alone to take what this machine has, or see why with: python -m "
        "trainer.doctor"
    )
