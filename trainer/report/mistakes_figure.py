"""The most confident mistakes as one picture: what the network saw, and where it looked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.report.evaluation_figures import new_figure, pixels_of
from trainer.report.page_photos import most_confident_mistakes

if TYPE_CHECKING:
    from trainer.inference import TrainedRun

_NUM_SHOWN = 12
_NUM_COLUMNS = 4
_DPI = 90


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
    from trainer.gradcam import look_at_records, overlay

    wrong = np.array(most_confident_mistakes(probabilities, labels, _NUM_SHOWN), np.int64)
    if not len(wrong):
        return None
    predicted = probabilities.argmax(axis=1)
    looks = look_at_records(run, data_dir, split_name, wrong, predicted[wrong])
    num_rows = -(-len(wrong) // _NUM_COLUMNS)
    figure = new_figure(3.4 * _NUM_COLUMNS, 2.2 * num_rows, dpi=_DPI)
    for number, index in enumerate(wrong):
        axes = figure.add_subplot(num_rows, _NUM_COLUMNS, number + 1)
        image = looks.images[number]
        axes.imshow(np.concatenate([image, overlay(image, looks.maps[number])], axis=1))
        axes.set_axis_off()
        said, sure = class_names[predicted[index]], probabilities[index, predicted[index]]
        axes.set_title(
            f"{said} {sure:.0%}\nlabel: {class_names[labels[index]]}",
            fontsize=9,
            parse_math=False,
        )
    return pixels_of(figure)
