"""What is in a file of weights, and how two of them differ, in lines for a person to read."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.weights.backbones import trunk_shapes
from trainer.weights.loading import read_float32
from trainer.weights.matching import identify, named_tensors
from trainer.weights.tensors import Shape, StoredTensor, WeightFile

_DIFFERENCES_SHOWN = 10


def tensors_by_key(file: WeightFile) -> dict[str, StoredTensor]:
    """The tensors that a network could take, under its names."""
    return {tensor.key: tensor for tensor in _named(file) if not tensor.left_out}


def describe(file: WeightFile, every_tensor: bool = False) -> Iterator[str]:
    """What a file is: format, backbone, parameters, and what is beside the network."""
    yield f"file         {file.source}"
    yield f"format       {file.format}"
    yield f"sha256       {file.sha256}"
    yield f"backbone     {_backbone(file)}"
    if file.classes is not None:
        yield f"classes      {len(file.classes)}: {', '.join(file.classes)}"
    tensors = _named(file)
    parts = {
        "trunk": [tensor for tensor in tensors if tensor.in_trunk],
        "other layers": [t for t in tensors if not t.in_trunk and not t.left_out],
    }
    for name, part in parts.items():
        if part:
            yield f"{name:<12} {len(part):,} tensors, {_num_values(part):,} values"
    for reason, count in Counter(t.left_out for t in tensors if t.left_out).most_common():
        yield f"left out     {count:,} tensors: {reason}"
    for layer in dict.fromkeys(tensor.layer for tensor in parts["other layers"]):
        own = [t for t in parts["other layers"] if t.layer == layer]
        shapes = ", ".join(f"{t.key.rpartition('/')[2]} {list(t.shape)}" for t in own)
        yield f"layer        {layer}: {shapes}"
    for note in file.notes:
        yield f"note         {note}"
    if every_tensor:
        for tensor in tensors:
            mark = f"  ({tensor.left_out})" if tensor.left_out else ""
            kind = f"{tensor.dtype:<8} {list(tensor.shape)!s:<20}"
            yield f"{tensor.key:<44} {kind} {tensor.name}{mark}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How the tensors of two files differ, by key."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    reshaped: Mapping[str, tuple[Shape, Shape]]
    equal: tuple[str, ...]
    """Bit for bit, as float32."""
    changed: Mapping[str, float]
    """RMS of the difference over RMS of the first file's values; largest first."""

    @property
    def same(self) -> bool:
        """Whether both files hold the same network."""
        return not (self.only_first or self.only_second or self.reshaped or self.changed)


def compare(first: WeightFile, second: WeightFile) -> Comparison:
    """Compares what a network could take of two files; optimizers and counters are not looked at.

    Raises:
        WeightsError: values cannot be read.
    """
    ours, theirs = tensors_by_key(first), tensors_by_key(second)
    shared = [key for key in ours if key in theirs]
    reshaped = {
        key: (ours[key].shape, theirs[key].shape)
        for key in shared
        if ours[key].shape != theirs[key].shape
    }
    equal, changed = [], {}
    for key in shared:
        if key in reshaped:
            continue
        left, right = read_float32(ours[key], first), read_float32(theirs[key], second)
        if np.array_equal(left, right):
            equal.append(key)
        else:
            changed[key] = _rms(left - right) / max(_rms(left), float(np.finfo(np.float32).tiny))
    return Comparison(
        only_first=tuple(key for key in ours if key not in theirs),
        only_second=tuple(key for key in theirs if key not in ours),
        reshaped=reshaped,
        equal=tuple(equal),
        changed=dict(sorted(changed.items(), key=lambda item: -item[1])),
    )


def describe_comparison(comparison: Comparison) -> Iterator[str]:
    """The outcome first, then what differs, most first."""
    if comparison.same:
        yield f"the same: {len(comparison.equal):,} tensors are equal bit for bit"
        return
    yield (
        f"different: {len(comparison.equal):,} tensors equal, {len(comparison.changed):,} of other "
        f"values, {len(comparison.reshaped):,} of other shape, {len(comparison.only_first):,} only "
        f"in the first, {len(comparison.only_second):,} only in the second"
    )
    lines = itertools.chain(
        (f"only in the first   {key}" for key in comparison.only_first[:_DIFFERENCES_SHOWN]),
        (f"only in the second  {key}" for key in comparison.only_second[:_DIFFERENCES_SHOWN]),
    )
    yield from lines
    for key, (left, right) in itertools.islice(comparison.reshaped.items(), _DIFFERENCES_SHOWN):
        yield f"other shape         {key}: {list(left)} and {list(right)}"
    for key, distance in itertools.islice(comparison.changed.items(), _DIFFERENCES_SHOWN):
        yield f"other values        {key}: relative RMS difference {distance:.2g}"


def _named(file: WeightFile) -> tuple[StoredTensor, ...]:
    closest = identify(file)
    return file.tensors if closest is None else named_tensors(file, trunk_shapes(closest[0]))


def _backbone(file: WeightFile) -> str:
    closest = identify(file)
    if closest is None:
        return "none of the EfficientNets"
    name, share = closest
    return name if share == 1 else f"closest to {name}, {share:.0%} of the variables fit"


def _num_values(tensors: list[StoredTensor]) -> int:
    return sum(int(np.prod(tensor.shape)) for tensor in tensors)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
