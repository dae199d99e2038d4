"""The JSON of one photo."""

import numpy as np

from tests.trainer.serving.running import make_contract
from trainer.exporting.contract import PreparedPhoto
from trainer.serving.answers import MOST_MAPS, describe_photo
from trainer.serving.predictor import Outputs


def test_only_the_most_probable_classes_bring_their_maps():
    num_classes = MOST_MAPS + 5
    answer = describe_photo(
        None,
        PreparedPhoto(pixels=np.zeros((8, 8, 3), np.uint8), width=8, height=8, box=(0, 0, 8, 8)),
        Outputs(
            probabilities=np.linspace(0, 1, num_classes, dtype=np.float32),
            class_activation=np.zeros((2, 2, num_classes), np.float32),
        ),
        make_contract(classes=tuple(map(str, range(num_classes)))),
        top_k=num_classes,
        with_activation=True,
    )
    assert answer.classes is not None
    with_map = [one.activation is not None for one in answer.classes]
    assert with_map == [True] * MOST_MAPS + [False] * 5
