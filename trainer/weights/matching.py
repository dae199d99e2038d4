"""Which tensor of a file fills which variable of the network: complete, or an error that says why.

Pure: works on names and shapes, reads no values.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainer.weights.backbones import (
    BACKBONES,
    canonical_backbone,
    closest_backbone,
    trunk_shapes,
)
from trainer.weights.naming import name_by_order, trunk_order
from trainer.weights.tensors import (
    HEAD_PREFIX,
    Shape,
    StoredTensor,
    WeightFile,
    WeightsError,
)

_SHOWN = 4
# Two trunks of one family that differ in width still share their few scalars of equal shape; a
# file that shares less than this has no trunk of the kind at all, or only a small part of one.
_ALIKE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """A complete answer: every trunk variable has one tensor, every tensor a place or a reason."""

    used: Mapping[str, StoredTensor]
    left_out: Mapping[str, str]
    not_filled: tuple[str, ...]


def assign(file: WeightFile, backbone: str, expected: Mapping[str, Shape]) -> Assignment:
    """Assigns the tensors of a file to the variables of a network.

    The head ("head_...") is taken as a whole if every variable of it is there in its shape, else
    left out as a whole. Anything else that the network expects must be there.

    Args:
        file: the opened source.
        backbone: for messages, and for the order of layers in files that do not name them.
        expected: `<layer>/<variable>` -> shape, as the network needs them.

    Raises:
        WeightsError: variables are missing, trunk tensors have no place, shapes differ, or two
            tensors claim one variable.
    """
    tensors = named_tensors(file, _order_shapes(backbone, expected))
    candidates = [tensor for tensor in tensors if not tensor.left_out]
    twice = [
        key
        for key, n in Counter(tensor.key for tensor in candidates).items()
        if n > 1 and key in expected
    ]
    if twice:
        raise WeightsError(
            f"{file.source} holds {_shown(twice)} more than once; "
            "give a file with a single network in it"
        )
    by_key = {tensor.key: tensor for tensor in candidates}
    used = {
        key: by_key[key]
        for key, shape in expected.items()
        if key in by_key and by_key[key].shape == tuple(shape)
    }
    head = [key for key in expected if key.startswith(HEAD_PREFIX)]
    if any(key not in used for key in head):
        used = {key: tensor for key, tensor in used.items() if not key.startswith(HEAD_PREFIX)}
    trunk = {key: tuple(shape) for key, shape in expected.items() if key not in head}
    _check_trunk(file, backbone, trunk, candidates)
    return Assignment(
        used=used,
        left_out={
            tensor.name: tensor.left_out or _why_not(tensor, expected)
            for tensor in tensors
            if used.get(tensor.key) is not tensor
        },
        not_filled=tuple(key for key in head if key not in used),
    )


def named_tensors(file: WeightFile, shapes: Mapping[str, Shape]) -> tuple[StoredTensor, ...]:
    """The tensors of a file; layers that it only numbers get the names of the trunk `shapes`."""
    if file.named:
        return file.tensors
    return name_by_order(file.tensors, trunk_order(shapes))


def identify(file: WeightFile) -> tuple[str, float] | None:
    """The backbone that a file's trunk resembles most, and by what share of its variables.

    1 means that every name and shape fits. None if the file has nothing of an EfficientNet.
    """
    if file.named:
        return closest_backbone(_trunk_of(file.tensors))
    guesses = []
    for backbone in BACKBONES:
        named = name_by_order(file.tensors, trunk_order(trunk_shapes(backbone)))
        closest = closest_backbone(_trunk_of(named))
        if closest is not None and closest[0] == backbone:
            guesses.append(closest)
    return max(guesses, key=lambda guess: guess[1], default=None)


def _order_shapes(backbone: str, expected: Mapping[str, Shape]) -> Mapping[str, Shape]:
    known = {name.lower() for name in BACKBONES}
    if backbone.lower().replace("-", "").replace("_", "") in known:
        return trunk_shapes(canonical_backbone(backbone))
    return {key: shape for key, shape in expected.items() if not key.startswith(HEAD_PREFIX)}


def _trunk_of(tensors: Iterable[StoredTensor]) -> dict[str, Shape]:
    return {tensor.key: tensor.shape for tensor in tensors if tensor.in_trunk}


def _check_trunk(
    file: WeightFile, backbone: str, trunk: Mapping[str, Shape], candidates: list[StoredTensor]
) -> None:
    found = {tensor.key: tensor.shape for tensor in candidates}
    missing = [key for key in trunk if key not in found]
    wrong = [
        f"{key} (file {list(found[key])}, network {list(shape)})"
        for key, shape in trunk.items()
        if key in found and found[key] != shape
    ]
    homeless = [tensor.key for tensor in candidates if tensor.in_trunk and tensor.key not in trunk]
    if not (missing or wrong or homeless):
        return
    parts = []
    if missing:
        parts.append(
            f"{len(missing)} of {len(trunk)} variables are missing in the file: {_shown(missing)}"
        )
    if homeless:
        parts.append(f"{len(homeless)} of the file are missing in the network: {_shown(homeless)}")
    if wrong:
        parts.append(f"{len(wrong)} differ in shape: {_shown(wrong)}")
    raise WeightsError(
        f"{file.source} ({file.format}) does not fit {backbone}; {'; '.join(parts)}. "
        f"{_advice(file, backbone)}"
    )


def _advice(file: WeightFile, backbone: str) -> str:
    closest = identify(file)
    if closest is None:
        layers = sorted({tensor.layer for tensor in file.tensors if not tensor.left_out})
        return (
            f"It has no layers of an EfficientNet (but {_shown(layers) or 'nothing at all'}); "
            f"give weights of {backbone}"
        )
    name, share = closest
    if name == backbone or share < _ALIKE:
        return (
            f"It has {share:.0%} of the variables of {name}: part of a network, or a changed one; "
            f"give whole weights of {backbone}"
        )
    looks = "This is" if share == 1 else f"This looks like ({share:.0%})"
    return f"{looks} {name}: choose that backbone, or give weights of {backbone}"


def _why_not(tensor: StoredTensor, expected: Mapping[str, Shape]) -> str:
    if tensor.key in expected:
        shape = list(expected[tensor.key])
        if list(tensor.shape) != shape:
            return f"head of another size: {list(tensor.shape)}, the network's is {shape}"
        return "part of a head that does not fit as a whole"
    if tensor.in_trunk:
        return "the network has no such layer"
    return "no layer of the network: the source's own head, or another part of its model"


def _shown(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
