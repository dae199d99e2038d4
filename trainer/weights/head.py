"""The head of an earlier run: kept only where it tells the same classes apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trainer.weights.tensors import HEAD_PREFIX, LoadedWeights

# The class axis is the last one of both.
_PER_CLASS = ("head_logits/kernel", "head_logits/bias")
_SHOWN = 3


def fit_head(loaded: LoadedWeights, classes: Sequence[str]) -> LoadedWeights:
    """Puts a loaded head in the order of `classes`, or drops it if its classes are others.

    A head of the right size for the wrong classes would pass every check of shapes; so classes go
    by their names, and a source that does not tell them has no head that can be used.

    Args:
        loaded: arrays of trunk and perhaps head.
        classes: names in the order of the network's outputs.
    """
    head = [key for key in loaded.arrays if key.startswith(HEAD_PREFIX)]
    if not head or loaded.classes == tuple(classes):
        return loaded
    reason = _other_classes(loaded.classes, classes)
    if reason:
        return _without(loaded, head, reason)
    assert loaded.classes is not None, "a head without classes is dropped above"
    position = {name: index for index, name in enumerate(loaded.classes)}
    order = [position[name] for name in classes]
    reordered = {key: loaded.arrays[key][..., order] for key in head if key in _PER_CLASS}
    return replace(loaded, arrays={**loaded.arrays, **reordered})


def _other_classes(theirs: Sequence[str] | None, ours: Sequence[str]) -> str:
    if theirs is None:
        return "head of unknown classes: the source does not name them"
    if sorted(theirs) == sorted(ours):
        return ""
    return f"head for other classes: {_shown(theirs)}; the network's are {_shown(ours)}"


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _without(loaded: LoadedWeights, keys: Sequence[str], reason: str) -> LoadedWeights:
    dropped: Mapping[str, str] = {loaded.used[key]: reason for key in keys}
    return replace(
        loaded,
        arrays={key: values for key, values in loaded.arrays.items() if key not in keys},
        used={key: name for key, name in loaded.used.items() if key not in keys},
        left_out={**loaded.left_out, **dropped},
        not_filled=(*loaded.not_filled, *keys),
    )
