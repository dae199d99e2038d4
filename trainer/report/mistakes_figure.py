"""The most confident mistakes as one picture: what the network saw, and where it looked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.report.page_photos import most_confident_mistakes

if TYPE_CHECKING:
    from trainer.inference import TrainedRun

_NUM_SHOWN = 12
_NUM_COLUMNS = 4


def mistakes_figure(
    run: "TrainedRun",
    data_dir: str,
    split_name: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> NDArray[np.uint8] | None:
    """Draws up to 12 wrong predictions, the surest first, each beside its Grad-CAM.

    Args:
        run: its network looks.
        data_dir: records.
        split_name: of them; in the order of `labels`.
        probabilities: calibrated, [N, K].
        labels: [N].
        class_names: K names.

    Returns:
        uint8 [H, W, 3], RGB; None where nothing is wrong.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tfrecords_builder.manifest import load_manifest
    from trainer.gradcam import GradCam, overlay
    from trainer.input.canvases import Canvases, canvas_px_of

    wrong = np.array(most_confident_mistakes(probabilities, labels, _NUM_SHOWN), np.int64)
    if not len(wrong):
        return None
    predicted = probabilities.argmax(axis=1)
    split = load_manifest(data_dir).splits[split_name]
    canvases = Canvases(data_dir, split, canvas_px_of(run.image_px), "none")
    looks = GradCam(run).look(canvases, wrong, predicted[wrong])
    canvases.close()
    num_rows = -(-len(wrong) // _NUM_COLUMNS)
    figure = Figure(figsize=(3.4 * _NUM_COLUMNS, 2.2 * num_rows), dpi=90, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for number, index in enumerate(wrong):
        axes = figure.add_subplot(num_rows, _NUM_COLUMNS, number + 1)
        image = looks.images[number]
        axes.imshow(np.concatenate([image, overlay(image, looks.maps[number])], axis=1))
        axes.set_axis_off()
        said, sure = class_names[predicted[index]], probabilities[index, predicted[index]]
        axes.set_title(f"{said} {sure:.0%}\nlabel: {class_names[labels[index]]}", fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()
