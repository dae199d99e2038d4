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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords_builder.errors import UserError
from trainer.exporting.contract import CLASS_ACTIVATION, CLASSES, INPUT, PROBABILITIES

MAP_PHOTOS = 4
"""So many photos, the first ones, have their evidence maps compared."""
_WARM_UPS = 3
_TIMED_RUNS = 15
_START_SECS, _PHOTO_SECS = 300, 30
"""What a process may take; the largest network takes 0.7 s a photo on one core."""
_PIXELS, _ENCODED, _RESULT = "pixels.npy", "encoded.npy", "result.npz"

Predict = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class ExportError(UserError):
    """A file does not run, or is not what it was made of; nothing of it is kept."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeResult:
    """What a file answered, and what it took."""

    probabilities: np.ndarray
    """float32 [N, K]"""
    load_secs: float
    latency_ms: float
    """Median of single photos, after warm-up."""
    peak_memory_mb: float | None
    """Of the whole process, Python and runtime included; None where the system does not tell."""
    num_threads: int
    maps: np.ndarray | None = None
    """float32 [M, h, w, K], `class_activation` of the first photos; None from a file without"""
    on_encoded: np.ndarray | None = None
    """float32 [M, K], of encoded photos; None where there were none"""
    classes: tuple[str, ...] | None = None
    """Names that came with these; None where there were none"""


def run_in_own_process(
    model: Path, pixels: np.ndarray, num_threads: int, encoded: Sequence[bytes] = ()
) -> RuntimeResult:
    """Runs a file on uint8 pixels [N, S, S, 3], and a SavedModel on M encoded photos too.

    Raises:
        ExportError: the runtime did not take the file.
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
        timeout = _START_SECS + _PHOTO_SECS * len(pixels)
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"{model.name} has not answered {len(pixels)} photos within {timeout} s in its own "
                "runtime; nothing of it is kept; prove it on fewer photos, or leave it out"
            ) from None
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportError(
                f"{model.name} does not run in its own runtime (exit code {done.returncode}: "
                f"{reason}); nothing of it is kept; leave it out, or try another version of the "
                "runtime"
            )
        with np.load(Path(folder, _RESULT)) as file:
            return RuntimeResult(
                probabilities=file["probabilities"],
                maps=file.get("maps"),
                on_encoded=file.get("on_encoded"),
                classes=_names(file["classes"]) if encoded else None,
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
    single = np.array(pixels[:1])
    for _ in range(_WARM_UPS):
        outputs = predict(single)
    # Before the other photos: all that are read count as memory of the process.
    memory = peak_memory_mb()
    results: dict[str, Any] = {"probabilities": _run_over(predict, pixels, PROBABILITIES)}
    if CLASS_ACTIVATION in outputs:
        results["maps"] = _run_over(predict, pixels[:MAP_PHOTOS], CLASS_ACTIVATION)
    seconds = []
    for _ in range(_TIMED_RUNS):
        started = time.monotonic()
        predict(single)
        seconds.append(time.monotonic() - started)
    facts = {
        "load_secs": load_secs,
        "latency_ms": statistics.median(seconds) * 1000,
        "peak_memory_mb": memory,
        "num_threads": threads,
    }
    if (folder / _ENCODED).exists():
        on_files = load(model, threads, "serving_default")
        encoded = np.load(folder / _ENCODED)
        results["on_encoded"] = _run_over(on_files, encoded, PROBABILITIES)
        results["classes"] = on_files(encoded[:1])[CLASSES][0].astype(bytes)
    np.savez(folder / _RESULT, allow_pickle=False, **results, facts=json.dumps(facts))


def _names(encoded: np.ndarray) -> tuple[str, ...]:
    return tuple(name.decode() for name in encoded.tolist())


def _run_over(predict: Predict, inputs: np.ndarray, output: str) -> np.ndarray:
    rows = (np.array(inputs[row : row + 1]) for row in range(len(inputs)))
    return np.concatenate([predict(row)[output] for row in rows])


def load(model: Path, num_threads: int, signature: str = "pixels") -> Predict:
    """A function from inputs [B, ...] to the outputs of the contract by name."""
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


def peak_memory_mb(status_file: Path = Path("/proc/self/status")) -> float | None:
    """The most memory that this process has held, in MB of 10^6 bytes; None where unknown."""
    # Not getrusage: a child starts with the peak of the process that it was forked from.
    try:
        status = status_file.read_text()
    except OSError:
        return None
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes.split()[1]) * 1024 / 1e6


def _load_litert(model: Path, num_threads: int) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=num_threads)
    runner = interpreter.get_signature_runner()
    return lambda pixels: dict(runner(**{INPUT: pixels}))


def _load_onnx(model: Path, num_threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {INPUT: pixels}), strict=True))


def _load_tensorflow(model: Path, num_threads: int, signature: str) -> Predict:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # What is measured is a CPU, and a GPU's matrix products are too coarse for the bounds.
    tf.config.set_visible_devices([], "GPU")
    if model.suffix == ".keras":
        import keras

        network = keras.saving.load_model(model, compile=False)
        call = tf.function(lambda pixels: network(pixels, training=False), autograph=False)

        def predict_keras(pixels: np.ndarray) -> dict[str, np.ndarray]:
            return _arrays(call(tf.constant(pixels)))

        return predict_keras
    loaded: Any = tf.saved_model.load(str(model))
    function = loaded.signatures[signature]
    name = next(iter(function.structured_input_signature[1]))

    def predict(values: np.ndarray) -> dict[str, np.ndarray]:
        given = [one[:-1] for one in values.tolist()] if values.dtype.kind == "S" else values
        return _arrays(function(**{name: tf.constant(given)}))

    # Signatures live as long as what was loaded.
    predict.loaded = loaded  # type: ignore[attr-defined]
    return predict


def _arrays(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(tensor) for name, tensor in outputs.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
