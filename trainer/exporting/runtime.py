"""Runs an exported file on prepared pixels in its own runtime, as a process of its own.

    python -m trainer.exporting.runtime MODEL FOLDER NUM_THREADS

FOLDER holds `pixels.npy`, for a SavedModel perhaps `encoded.npy`, and in the end `result.npz`. A
process of its own shows that the file needs nothing else, and what memory it takes. LiteRT and ONNX
files run without TensorFlow.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import DataError
from trainer.exporting.contract import INPUT, PROBABILITIES

_WARM_UPS = 3
_TIMED_RUNS = 15
_TIMEOUT_SECS = 3600
_PIXELS, _ENCODED, _RESULT = "pixels.npy", "encoded.npy", "result.npz"

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeResult:
    """What a file answered, and what it took."""

    probabilities: np.ndarray
    """float32 [N, K]"""
    load_secs: float
    latency_ms: float
    """Median of single photos, after warm-up."""
    peak_memory_mb: float
    """Of the whole process, Python and runtime included."""
    num_threads: int
    on_encoded: np.ndarray | None = None
    """float32 [M, K], of encoded photos; None where there were none"""


def run_in_own_process(
    model: Path, pixels: np.ndarray, num_threads: int, encoded: Sequence[bytes] = ()
) -> RuntimeResult:
    """Runs a file on uint8 pixels [N, S, S, 3], and a SavedModel on M encoded photos too.

    Raises:
        DataError: the runtime did not take the file.
    """
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        np.save(Path(folder, _PIXELS), pixels, allow_pickle=False)
        if encoded:
            # numpy takes zeros off the end of bytes: a last byte that is none keeps them.
            np.save(Path(folder, _ENCODED), np.array([photo + b"." for photo in encoded]))
        command = [
            *(sys.executable, "-m", "trainer.exporting.runtime"),
            *(str(model), folder, str(num_threads)),
        ]
        # What this process imports the project from, wherever it was started.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECS
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(
                f"{model.name} does not run in its own runtime (exit code {done.returncode}: "
                f"{reason}); need a file that opens; install the extra 'export', or leave the "
                "format out"
            )
        with np.load(Path(folder, _RESULT)) as file:
            return RuntimeResult(
                probabilities=file["probabilities"],
                on_encoded=file["on_encoded"] if encoded else None,
                **json.loads(str(file["facts"])),
            )


def main(arguments: list[str]) -> None:
    """The process: runs the file once over everything, then one photo at a time for the clock."""
    if len(arguments) != 3:
        print(f"usage: {(__doc__ or '').splitlines()[2].strip()}")
        sys.exit(0 if arguments == ["--help"] else 2)
    model, folder, threads = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    pixels = np.load(folder / _PIXELS, mmap_mode="r")
    started = time.monotonic()
    predict = load(model, threads)
    load_secs = time.monotonic() - started
    results: dict[str, Any] = {"probabilities": _run_over(predict, pixels)}
    single = np.array(pixels[:1])
    seconds = []
    for number in range(_WARM_UPS + _TIMED_RUNS):
        started = time.monotonic()
        predict(single)
        if number >= _WARM_UPS:
            seconds.append(time.monotonic() - started)
    facts = {
        "load_secs": load_secs,
        "latency_ms": statistics.median(seconds) * 1000,
        "peak_memory_mb": peak_memory_mb(),
        "num_threads": threads,
    }
    if (folder / _ENCODED).exists():
        on_files = load(model, threads, "serving_default")
        results["on_encoded"] = _run_over(on_files, np.load(folder / _ENCODED))
    np.savez(folder / _RESULT, allow_pickle=False, **results, facts=json.dumps(facts))


def _run_over(predict: Predict, inputs: np.ndarray) -> np.ndarray:
    return np.concatenate([predict(np.array(inputs[row : row + 1])) for row in range(len(inputs))])


def load(model: Path, num_threads: int, signature: str = "pixels") -> Predict:
    """A function from inputs [B, ...] to probabilities float32 [B, K]."""
    if model.suffix == ".tflite":
        return _load_litert(model, num_threads)
    if model.suffix == ".onnx":
        return _load_onnx(model, num_threads)
    return _load_tensorflow(model, num_threads, signature)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Without what native code writes to stderr, unless an error leaves the block."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB of 10^6 bytes; nan where unknown."""
    # Not getrusage: a child starts with the peak of the process that it was forked from.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes.split()[1]) * 1024 / 1e6


def _load_litert(model: Path, num_threads: int) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=num_threads)
    runner = interpreter.get_signature_runner()

    def predict(pixels: np.ndarray) -> np.ndarray:
        return np.array(runner(**{INPUT: pixels})[PROBABILITIES])

    return predict


def _load_onnx(model: Path, num_threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def predict(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([PROBABILITIES], {INPUT: pixels})[0])

    return predict


def _load_tensorflow(model: Path, num_threads: int, signature: str) -> Predict:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if model.suffix == ".keras":
        import keras

        network = keras.saving.load_model(model, compile=False)
        call = tf.function(lambda pixels: network(pixels, training=False), autograph=False)

        def predict_keras(pixels: np.ndarray) -> np.ndarray:
            return np.asarray(call(tf.constant(pixels))[PROBABILITIES])

        return predict_keras
    loaded: Any = tf.saved_model.load(str(model))
    function = loaded.signatures[signature]
    name = next(iter(function.structured_input_signature[1]))

    def predict(values: np.ndarray) -> np.ndarray:
        given = [one[:-1] for one in values.tolist()] if values.dtype.kind == "S" else values
        return np.asarray(function(**{name: tf.constant(given)})[PROBABILITIES])

    # Signatures live as long as what was loaded.
    predict.loaded = loaded  # type: ignore[attr-defined]
    return predict


if __name__ == "__main__":
    main(sys.argv[1:])
