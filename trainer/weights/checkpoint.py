"""TensorFlow 1 checkpoints of EfficientNet B0 to B7, as its authors published them.

The variables of github.com/tensorflow/tpu, models/official/efficientnet, are named by the scope in
which a layer is called and numbered there by kind: `efficientnet-b5/blocks_3/conv2d_1/kernel` is
the second convolution called in the fourth block. Every weight has a moving average beside it,
`.../ExponentialMovingAverage`; the published accuracies are those of the averages.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.weights.backbones import BACKBONES, Block, blocks, is_v1
from trainer.weights.naming import OPTIMIZER, tensor_key
from trainer.weights.tensors import StoredTensor, WeightFile, WeightsError

AVERAGE = "/ExponentialMovingAverage"
_INDEX = ".index"
_PART = re.compile(r"(?:.*/)?(stem|head|blocks_(\d+))/(.+)/([^/]+)")
_STEM = {"conv2d": "stem_conv", "batch_normalization": "stem_bn"}
_HEAD = {"conv2d": "top_conv", "batch_normalization": "top_bn", "dense": "predictions"}


@contextmanager
def open_checkpoint(prefix: Path, source: str, sha256: str) -> Iterator[WeightFile]:
    """A checkpoint whose files are `<prefix>.index` and `<prefix>.data-...`.

    Raises:
        WeightsError: it is damaged, or not of this kind.
    """
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        dtypes = reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{prefix} cannot be opened as TensorFlow checkpoint ({_first_line(error)}); "
            "it may be cut short: download or copy it again"
        ) from error
    if any("/.ATTRIBUTES/" in name for name in shapes):
        raise WeightsError(
            f"{prefix} is an object checkpoint of TensorFlow 2, which tells no layer names; "
            'save the model again with save_weights("....weights.h5")'
        )

    def read(name: str) -> Any:
        try:
            return reader.get_tensor(name)
        # The reader of TensorFlow's C++ side has no class of its own: "out of range" is IndexError.
        except (tf.errors.OpError, RuntimeError, IndexError, ValueError) as error:
            raise WeightsError(
                f"{prefix} cannot be read at {name!r} ({_first_line(error)}); "
                "it is damaged: download or copy it again"
            ) from error

    keys = checkpoint_keys(shapes)
    reasons = reasons_to_leave_out(shapes, source)
    yield WeightFile(
        source=source,
        format="TensorFlow checkpoint",
        sha256=sha256,
        tensors=tuple(
            StoredTensor(
                name=name,
                key=keys.get(name, name),
                shape=shapes[name],
                dtype=dtypes[name].name,
                read=lambda name=name: read(name),  # type: ignore[misc]
                left_out=reasons.get(name, ""),
            )
            for name in sorted(shapes)
        ),
    )


def checkpoint_keys(names: Mapping[str, object]) -> dict[str, str]:
    """Key of every variable of an EfficientNet's checkpoint, moving averages included.

    The checkpoint numbers all blocks through; which stage a block belongs to follows from their
    number: 16 blocks are B0's, 39 are B5's. Blocks of an unknown number get no key.
    """
    parts = {
        name: match for name in names if (match := _PART.fullmatch(name.removesuffix(AVERAGE)))
    }
    numbers = {int(match.group(2)) for match in parts.values() if match.group(2)}
    numbered = _blocks_by_number(len(numbers))
    keys = {}
    for name, match in parts.items():
        where, number, layer, variable = match.groups()
        layer = layer.replace("tpu_batch_normalization", "batch_normalization")
        if number is None:
            known = _STEM if where == "stem" else _HEAD
        else:
            known = _block_layers(numbered[int(number)]) if int(number) < len(numbered) else {}
        if layer in known:
            keys[name] = tensor_key(known[layer], variable)
    return keys


def reasons_to_leave_out(names: Mapping[str, object], source: str) -> dict[str, str]:
    """Why a variable is no weight: a raw value beside its average, a slot, a counter.

    Raises:
        WeightsError: some weights have a moving average and others not.
    """
    reasons = {}
    raw = []
    for name in names:
        parent = name.rpartition("/")[0]
        if name.endswith(AVERAGE):
            continue
        if name + AVERAGE in names:
            reasons[name] = "raw value; its moving average is used"
        elif parent in names:
            reasons[name] = OPTIMIZER
        elif not _PART.fullmatch(name):
            reasons[name] = "no weight of a layer"
        elif "/moving_" not in name:
            raw.append(name)
    averaged = sum(name.endswith(AVERAGE) for name in names)
    if averaged and raw:
        raise WeightsError(
            f"{source} has moving averages of {averaged} variables, but none of {len(raw)}, e.g. "
            f"{raw[0]!r}; weights of two kinds do not work together: give a whole checkpoint"
        )
    return reasons


def _blocks_by_number(count: int) -> tuple[Block, ...]:
    for backbone in BACKBONES:
        if is_v1(backbone) and len(blocks(backbone)) == count:
            return blocks(backbone)
    return ()


def _block_layers(block: Block) -> dict[str, str]:
    """Layers in the order of the calls: expansion (unless it is 1), depthwise, squeeze, project."""
    layers = {
        "depthwise_conv2d": f"{block.name}_dwconv",
        "se/conv2d": f"{block.name}_se_reduce",
        "se/conv2d_1": f"{block.name}_se_expand",
    }
    convolutions = ["project_conv"]
    norms = ["bn", "project_bn"]
    if block.expand != 1:
        convolutions.insert(0, "expand_conv")
        norms.insert(0, "expand_bn")
    for base, names in (("conv2d", convolutions), ("batch_normalization", norms)):
        for number, name in enumerate(names):
            layers[f"{base}_{number}" if number else base] = f"{block.name}_{name}"
    return layers


def find_checkpoint(path: Path) -> Path | None:
    """The prefix of the checkpoint that a path means; None if there is none.

    A path is a prefix (`model.ckpt`), one of its files, or a folder, whose subfolders are searched
    too: the published archives hold a folder. Where a folder has several, its file `checkpoint`
    decides.

    Raises:
        WeightsError: several, and nothing decides.
    """
    if not path.is_dir():
        if path.suffix == _INDEX and path.is_file():
            return path.with_suffix("")
        return path if path.with_name(path.name + _INDEX).is_file() else None
    indexes = [*path.glob("*" + _INDEX), *path.glob("*/*" + _INDEX)]
    found = sorted(index.with_suffix("") for index in indexes)
    if len(found) <= 1:
        return found[0] if found else None
    state = path / "checkpoint"
    if state.is_file():
        latest = re.search(
            r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', state.read_text(), re.MULTILINE
        )
        if latest and path / latest.group(1) in found:
            return path / latest.group(1)
    names = ", ".join(str(prefix.relative_to(path)) for prefix in found[:5])
    raise WeightsError(f"{path} holds {len(found)} checkpoints ({names}); name one of them")


def checkpoint_files(prefix: Path) -> list[Path]:
    """The files of a checkpoint that hold its weights."""
    return sorted(
        [prefix.with_name(prefix.name + _INDEX), *prefix.parent.glob(f"{prefix.name}.data-*")]
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
