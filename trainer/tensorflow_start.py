"""TensorFlow before its first use: imported quietly, and set for caches and determinism."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from trainer.errors import DeviceError

COMPILE_CACHE = "xla_cache"
"""Folder in the run folder."""

_START_UP_CHATTER = ("absl::InitializeLog", "oneDNN custom operations are on", "cpu_feature_guard")


def require_tensorflow() -> None:
    """Imports TensorFlow without its start-up chatter.

    Raises:
        DeviceError: it is not installed; says what to install.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with _held_back_stderr(_START_UP_CHATTER):
            import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise DeviceError(
            "TensorFlow is not installed; need exactly one of the extras cpu, gpu, tpu; "
            "install one, for example: pip install 'staged-trainer[cpu]' (python -m trainer.doctor "
            "checks the rest)"
        ) from None
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def nvidia_is_near() -> bool:
    """Whether this machine has a driver for GPUs; known without TensorFlow."""
    return os.path.exists("/dev/nvidiactl")


def keep_compiled(run_dir: str) -> None:
    """Makes XLA keep what it compiles in the run folder; call before TensorFlow is imported.

    A process that comes to the step by the same way then reads it instead of compiling again (the
    numbers of a process' functions are part of the key). For local folders;
    whoever has set the flag in TF_XLA_FLAGS keeps their own.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "://" in run_dir or "persistent_cache_directory" in flags:
        return
    folder = os.path.join(os.path.abspath(run_dir), COMPILE_CACHE)
    os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={folder}".strip()


def make_deterministic(seed: int) -> None:
    """Chooses kernels that give the same bits each time; call before a strategy is made."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # It refuses operations that draw without a seed.
    tf.random.set_seed(seed)


@contextlib.contextmanager
def _held_back_stderr(chatter: tuple[str, ...]) -> Iterator[None]:
    """Holds back what C++ code writes to stderr and lets through the lines that are not chatter.

    TF_CPP_MIN_LOG_LEVEL does not reach what is logged before TensorFlow has set its logging up.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not any(part in line for part in chatter):
                    print(line, file=sys.stderr)
