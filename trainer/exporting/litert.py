"""Writes LiteRT (TFLite) files: float32, float16 weights, dynamic range, int8.

Int8 is made as a remedy says. Weights have a scale per output channel always, which is the
converter's way.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.exporting.contract import INPUT
from trainer.exporting.graph import PixelModel
from trainer.exporting.remedies import Remedy, plan_float_results
from trainer.exporting.result_names import Result, read_results
from trainer.exporting.runtime import quiet_stderr

_SIGNATURE = "serving_default"


class LiteRtWriter:
    """Converts one function into several files; calibrates once for each number of photos.

    Args:
        model: the function.
    """

    def __init__(self, model: PixelModel):
        self._network = model.network
        self._folder = tempfile.TemporaryDirectory(prefix="litert-")
        tf.saved_model.save(model, self._folder.name, signatures={_SIGNATURE: model.function()})
        self._debuggers: dict[tuple[int, bool], Any] = {}

    def close(self) -> None:
        """Removes what lies on the disk."""
        self._folder.cleanup()

    def convert(self, quantization: str) -> bytes:
        """A file of `none`, `float16` or `dynamic`."""
        converter = self._converter()
        if quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        with _quiet():
            return bytes(converter.convert())

    def quantize(
        self, remedy: Remedy, calibration: np.ndarray, worst_layers: Sequence[str] = ()
    ) -> bytes:
        """An int8 file.

        Args:
            remedy: how.
            calibration: uint8 [N, S, S, 3], of which the remedy takes as many as it wants.
            worst_layers: those that lose most, the worst first.
        """
        num = min(remedy.num_calibration, len(calibration))
        photos = calibration[np.linspace(0, len(calibration) - 1, num).astype(int)]
        options = tf.lite.experimental.QuantizationDebugOptions
        with _quiet():
            debugger = self._calibrated(photos, remedy.whole_ranges)
            results = _results(debugger.calibrated_model)
            kept = plan_float_results(results, self._network, remedy, worst_layers)
            debugger.options = options(denylisted_nodes=sorted(kept) or None)
            return bytes(debugger.get_nondebug_quantized_model())

    def _calibrated(self, photos: np.ndarray, whole_ranges: bool) -> Any:
        key = (len(photos), whole_ranges)
        if key not in self._debuggers:
            converter = self._converter()
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                {INPUT: photo[np.newaxis]} for photo in photos
            )
            debugger = tf.lite.experimental.QuantizationDebugger(
                converter=converter,
                debug_dataset=list,
                debug_options=tf.lite.experimental.QuantizationDebugOptions(),
            )
            if not whole_ranges:
                debugger.calibrated_model = _with_mean_ranges(debugger.calibrated_model, photos)
            self._debuggers[key] = debugger
        return self._debuggers[key]

    def _converter(self) -> Any:
        return tf.lite.TFLiteConverter.from_saved_model(
            self._folder.name, signature_keys=[_SIGNATURE]
        )


def _with_mean_ranges(calibrated: bytes, photos: np.ndarray) -> bytes:
    """A calibrated file whose ranges are the means of the photos' own extremes.

    The converter takes the extremes of all photos together, so that one outlier coarsens every
    value of a layer. Averages are what training frameworks calibrate with (Krishnamoorthi,
    "Quantizing deep convolutional networks for efficient inference", arXiv:1806.08342, 2018);
    what reaches beyond them is cut off, which some networks bear worse.

    Args:
        calibrated: a float32 file with a range on every activation.
        photos: uint8 [N, S, S, 3].
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    ranges = {
        index: tensor.quantization
        for index, tensor in enumerate(model.subgraphs[0].tensors)
        if tensor.quantization is not None
        and tensor.quantization.min is not None
        and model.buffers[tensor.buffer].data is None
    }
    interpreter = Interpreter(
        model_content=calibrated,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]["index"]
    extremes = []
    for photo in photos:
        interpreter.set_tensor(image, photo[np.newaxis])
        interpreter.invoke()
        values = (interpreter.get_tensor(index) for index in ranges)
        extremes.append([(array.min(), array.max()) for array in values])
    for quantization, (low, high) in zip(ranges.values(), np.mean(extremes, axis=0), strict=True):
        # Zero stays exact: it is what convolutions pad with.
        quantization.min = np.array([min(low, 0)], np.float32)
        quantization.max = np.array([max(high, 0)], np.float32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _results(model: bytes) -> list[Result]:
    from ai_edge_litert.interpreter import Interpreter

    return read_results(Interpreter(model_content=model))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's chatter: its warnings concern its own internals."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
