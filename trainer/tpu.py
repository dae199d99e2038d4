"""TPUs: proved before they are touched, initialised, or an error; never something else instead."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from trainer.errors import DeviceError

if TYPE_CHECKING:
    import tensorflow as tf

PINNED = "tensorflow-tpu==2.19.1 with libtpu==0.0.10"
_LOCAL_DEVICES = ("/dev/accel0", "/dev/vfio/0")
_PROOF_SECS = 300.0


def has_tpu_build() -> bool:
    """Whether the TensorFlow that is installed is the one for TPUs."""
    try:
        metadata.version("tensorflow-tpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def tpu_is_near() -> bool:
    """Whether the environment names a TPU or this machine has one."""
    return bool(os.environ.get("TPU_NAME")) or any(map(os.path.exists, _LOCAL_DEVICES))


def require_importable() -> None:
    """Imports TensorFlow in another process, where it is the build for TPUs.

    With a libtpu that does not fit, the import aborts the process (SIGABRT, no exception): better
    another one than ours. Takes as long as an import; elsewhere nothing is done.

    Raises:
        DeviceError: it does not come through; says what to install.
    """
    if not has_tpu_build():
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import tensorflow"],
            capture_output=True,
            text=True,
            timeout=_PROOF_SECS,
        )
    except subprocess.TimeoutExpired:
        reason = f"it hangs for {_PROOF_SECS:.0f} s"
    else:
        if done.returncode == 0:
            return
        if done.returncode < 0:
            reason = f"{signal.Signals(-done.returncode).name} ends it"
        else:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
    raise DeviceError(
        f"TensorFlow for TPUs cannot be imported ({reason}); need {PINNED}; "
        "install the extra: pip install 'staged-trainer[tpu]'"
    )


def make_tpu_strategy(tpu: str) -> "tf.distribute.Strategy":
    """Connects to the TPU and initialises its topology, which clears its memory.

    Args:
        tpu: local (of this machine), a name, or grpc://HOST:PORT.

    Raises:
        ValueError, RuntimeError, KeyError, tf.errors.OpError: it is not there.
    """
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
    if tpu != "local":
        tf.config.experimental_connect_to_cluster(resolver)
    topology = tf.tpu.experimental.initialize_tpu_system(resolver)
    strategy = tf.distribute.TPUStrategy(resolver)
    num_cores = strategy.num_replicas_in_sync
    if num_cores < 1:
        raise RuntimeError(f"its topology {getattr(topology, 'mesh_shape', topology)} has no cores")
    return strategy


def compiles_with_xla(
    wanted: bool | None, *, on_gpu: bool, on_tpu: bool, tpu_build: bool, num_replicas: int
) -> bool:
    """Whether we compile the step with XLA ourselves.

    By default on GPUs only: on a CPU it was ten times slower, and a TPU's strategy compiles
    everything by itself. The TensorFlow build for TPUs cannot do it at all ("could not find
    registered transfer manager for platform Host"). On several CPU devices TensorFlow cannot sum
    over the replicas inside of what XLA compiles, as BatchNorm that trains does.

    Raises:
        DeviceError: it was asked for where it cannot be.
    """
    if wanted and (on_tpu or tpu_build):
        raise DeviceError(
            "--xla was asked for with TensorFlow's build for TPUs, which compiles for TPUs by "
            "itself and for nothing else; need another build, or no --xla; leave --xla out"
        )
    if wanted and num_replicas > 1 and not on_gpu:
        raise DeviceError(
            f"--xla was asked for with {num_replicas} replicas on CPUs, whose sums it cannot "
            "compile; need GPUs or one replica; leave --xla out"
        )
    return on_gpu and not tpu_build if wanted is None else wanted
