"""Weights by name: where the published ones are, and how they come here."""

import sys
from pathlib import Path
from typing import Any

from trainer.weights.backbones import BACKBONES, canonical_backbone, is_v1
from trainer.weights.download import cache_folder, fetch
from trainer.weights.tensors import WeightsError

IMAGENET = "imagenet"
NOISY_STUDENT = "noisy-student"
NAMES = (IMAGENET, NOISY_STUDENT)

# Xie et al., "Self-training with Noisy Student improves ImageNet classification" (2020). The
# address is that of the authors' README in tensorflow/tpu, models/official/efficientnet.
NOISY_STUDENT_URL = (
    "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet/noisystudent/"
    "noisy_student_efficientnet-{variant}.tar.gz"
)


def published_file(name: str, backbone: str) -> Path:
    """The local copy of published weights, downloaded if need be.

    Args:
        name: `imagenet` (Keras' own file) or `noisy-student` (B0 to B7).
        backbone: name in `keras.applications`.

    Raises:
        WeightsError: there are none for this backbone, or they cannot be downloaded.
    """
    backbone = require_published(name, backbone)
    if name == IMAGENET:
        return _keras_file(backbone)
    variant = backbone.removeprefix("EfficientNet").lower()
    return fetch(NOISY_STUDENT_URL.format(variant=variant), cache_folder())


def require_published(name: str, backbone: str) -> str:
    """The backbone's name in `keras.applications`, if weights of this name are published for it.

    Raises:
        WeightsError: they are not.
    """
    try:
        backbone = canonical_backbone(backbone)
    except WeightsError as error:
        raise WeightsError(
            f"there are no {name} weights of {backbone!r}, only of {', '.join(BACKBONES)}; choose "
            "one of these backbones, or the weights none"
        ) from error
    if name == NOISY_STUDENT and not is_v1(backbone):
        raise WeightsError(
            f"there are no {NOISY_STUDENT} weights of {backbone}, only of EfficientNetB0 to B7; "
            f"choose one of these backbones, or {IMAGENET} weights"
        )
    return backbone


def _keras_file(backbone: str) -> Path:
    """Keras' own file without the top, from Keras' own cache (`~/.keras/models`)."""
    import keras

    # The tables of addresses and hashes are not exported; they are in the builder's module.
    module: Any = sys.modules[getattr(keras.applications, backbone).__module__]
    variant = backbone.removeprefix("EfficientNet").lower()
    if is_v1(backbone):
        file_name = f"efficientnet{variant}_notop.h5"
        md5 = module.WEIGHTS_HASHES[variant][1]
    else:
        variant = variant.removeprefix("v2")
        # The hashes are filed under "b0" and "-s", the files are called "-b0" and "-s".
        file_name = f"efficientnetv2-{variant}_notop.h5"
        md5 = module.WEIGHTS_HASHES[variant if variant.startswith("b") else f"-{variant}"][1]
    url = module.BASE_WEIGHTS_PATH + file_name
    try:
        path: str = keras.utils.get_file(file_name, url, cache_subdir="models", file_hash=md5)
    except Exception as error:
        # get_file raises bare Exception without a network, ValueError on a wrong checksum.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{IMAGENET} weights of {backbone} cannot be downloaded ({reason}); they are at {url}: "
            f"download that file elsewhere (MD5 {md5}) and give its path as weights"
        ) from error
    return Path(path)
