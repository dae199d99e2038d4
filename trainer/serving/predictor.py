"""An exported file in its runtime: pixels to probabilities."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfrecords_builder.errors import UserError
from trainer.exporting.contract import (
    CLASS_ACTIVATION,
    INPUT,
    ONNX_KEY,
    PROBABILITIES,
    Contract,
    ContractError,
    read_contract,
)

RUNTIMES = {".tflite": "ai_edge_litert", ".onnx": "onnxruntime"}
"""Module that runs the files, by their suffix."""
SUFFIXES = tuple(RUNTIMES)
USUAL_NAME = "model.tflite"
"""Of the LiteRT file that is not quantized, in a folder of trainer.export."""


class ModelError(UserError):
    """A file that cannot be served."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What a network says of B photos."""

    probabilities: np.ndarray
    """float32 [B, K]"""
    class_activation: np.ndarray | None
    """float32 [B, h, w, K]: how much each place speaks for each class; None if the file has none"""


class Predictor(Protocol):
    """For one thread at a time."""

    contract: Contract

    def predict(self, pixels: np.ndarray) -> Outputs:
        """uint8 [B, S, S, 3], RGB; B may differ from call to call."""
        ...


class LiteRtPredictor:
    """Runs a .tflite file.

    Args:
        path: of a file with a contract.
        threads: > 0.

    Raises:
        ContractError: the file has no contract.
        ModelError: the runtime refuses it.
    """

    def __init__(self, path: Path, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self.contract = read_contract(path)
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._runner = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise _refused(path, error) from error

    def predict(self, pixels: np.ndarray) -> Outputs:
        """See Predictor."""
        outputs = self._runner(**{INPUT: pixels})
        return Outputs(
            probabilities=outputs[PROBABILITIES], class_activation=outputs.get(CLASS_ACTIVATION)
        )


class OnnxPredictor:
    """Runs a .onnx file. Arguments and errors as above."""

    def __init__(self, path: Path, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes are not exported
            raise _refused(path, error) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if ONNX_KEY not in metadata:
            raise ContractError(
                f"{path} holds no {ONNX_KEY}; need a file that trainer.export wrote; export the "
                "run again"
            )
        self.contract = Contract.from_json(json.loads(metadata[ONNX_KEY]))
        self._names = [output.name for output in self._session.get_outputs()]

    def predict(self, pixels: np.ndarray) -> Outputs:
        """See Predictor."""
        values = self._session.run(self._names, {INPUT: pixels})
        outputs = dict(zip(self._names, values, strict=True))
        return Outputs(
            probabilities=outputs[PROBABILITIES], class_activation=outputs.get(CLASS_ACTIVATION)
        )


def load_predictor(path: Path, threads: int) -> tuple[Predictor, float]:
    """Opens a file and runs it once, on black pixels.

    Args:
        path: of a .tflite or .onnx file.
        threads: > 0.

    Returns:
        The file in its runtime, and the seconds of that run, which no later one will need.

    Raises:
        ContractError, ModelError: it cannot be served, or it does not answer as its contract says.
    """
    predictor: Predictor = (
        OnnxPredictor(path, threads) if path.suffix == ".onnx" else LiteRtPredictor(path, threads)
    )
    contract = predictor.contract
    black = np.zeros((1, contract.image_px, contract.image_px, 3), np.uint8)
    started = time.monotonic()
    try:
        shape = predictor.predict(black).probabilities.shape
    except (ValueError, RuntimeError, KeyError) as error:
        raise _refused(path, error) from error
    if shape != (1, len(contract.classes)):
        raise ModelError(
            f"{path} answers {shape} to one photo but names {len(contract.classes)} classes; need "
            "one probability a class; export the run again"
        )
    return predictor, time.monotonic() - started


def find_model(model: str) -> Path:
    """The file that `--model` means: itself, or in a folder model.tflite or the only one.

    Raises:
        ModelError: there is none, or more than one.
    """
    path = Path(model)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        usual = path / USUAL_NAME
        if usual in found:
            return usual
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ModelError(
                f"--model={model} holds {names}; need {USUAL_NAME} or "
                f"exactly one {' or '.join(SUFFIXES)} file in a folder; name the file"
            )
        return found[0]
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise ModelError(
            f"--model={model} is not a {' or '.join(SUFFIXES)} file; need one that trainer.export "
            "wrote, or a folder with one; check the path"
        )
    return path


def _refused(path: Path, error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0]
    return ModelError(
        f"{path} cannot be run ({type(error).__name__}: {reason}); need a whole file of one of "
        f"{', '.join(SUFFIXES)}; export the run again"
    )
