"""Checkpoints of the authors' code: names of all eight variants, and what the numbers compute."""

import numpy as np
import pytest

from tests.trainer.weights import tf1
from tests.trainer.weights.written import random_arrays
from trainer.network.build import build_network
from trainer.recipe import Recipe, Stage
from trainer.weights import WeightsError, load_weights
from trainer.weights.backbones import trunk_shapes
from trainer.weights.checkpoint import checkpoint_keys, reasons_to_leave_out
from trainer.weights.matching import assign
from trainer.weights.tensors import StoredTensor, WeightFile

tf = pytest.importorskip("tensorflow")
B0 = "EfficientNetB0"
AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture(scope="module")
def average() -> dict[str, np.ndarray]:
    """The moving averages of a B0; random, with variances that a network can live with."""
    rng = np.random.default_rng(7)
    arrays = {}
    for name, shape in tf1.variable_shapes(0).items():
        fan_in = int(np.prod(shape[:-1])) or 1
        if "depthwise" in name:
            fan_in = shape[0] * shape[1]
        arrays[name] = rng.normal(0, fan_in**-0.5, shape).astype(np.float32)
        if name.endswith(("gamma", "moving_variance")):
            arrays[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def training_checkpoint(tmp_path_factory, average):
    """A B0 in the middle of training, in the folder of the published archives."""
    folder = tmp_path_factory.mktemp("checkpoint") / "noisy_student_efficientnet-b0"
    return tf1.write_checkpoint(folder / "model.ckpt", tf1.with_training_state(average))


def as_file(shapes: tf1.Shapes) -> WeightFile:
    keys, reasons = checkpoint_keys(shapes), reasons_to_leave_out(shapes, "ckpt")
    tensors = tuple(
        StoredTensor(
            name=name,
            key=keys.get(name, name),
            shape=shape,
            dtype="float32",
            read=lambda: np.zeros(0),
            left_out=reasons.get(name, ""),
        )
        for name, shape in shapes.items()
    )
    return WeightFile(source="ckpt", format="checkpoint", sha256="", tensors=tensors)


class TestNames:
    @pytest.mark.parametrize("number", range(8))
    def test_every_variable_of_every_variant_has_its_place(self, number) -> None:
        raw = tf1.variable_shapes(number)
        shapes = {**raw, **{name + AVERAGE: shape for name, shape in raw.items()}}
        backbone = f"EfficientNetB{number}"
        assignment = assign(as_file(shapes), backbone, trunk_shapes(backbone))
        assert assignment.used.keys() == trunk_shapes(backbone).keys()
        assert all(tensor.name.endswith(AVERAGE) for tensor in assignment.used.values())
        head = {name for name in assignment.left_out if name.endswith(AVERAGE)}
        assert {name.split("/")[2] for name in head} == {"dense"}

    def test_examples_by_hand(self) -> None:
        keys = checkpoint_keys(tf1.variable_shapes(5))
        model = "efficientnet-b5"
        # B5 has 3, 5, 5, 7, 7, 9 and 3 blocks: number 3 is the first of the second stage.
        assert keys[f"{model}/blocks_0/conv2d/kernel"] == "block1a_project_conv/kernel"
        assert keys[f"{model}/blocks_2/tpu_batch_normalization_1/beta"] == "block1c_project_bn/beta"
        assert keys[f"{model}/blocks_3/conv2d/kernel"] == "block2a_expand_conv/kernel"
        assert keys[f"{model}/blocks_3/tpu_batch_normalization_1/gamma"] == "block2a_bn/gamma"
        assert keys[f"{model}/blocks_12/se/conv2d_1/bias"] == "block3e_se_expand/bias"
        assert (
            keys[f"{model}/blocks_38/depthwise_conv2d/depthwise_kernel"] == "block7c_dwconv/kernel"
        )
        assert keys[f"{model}/head/conv2d/kernel"] == "top_conv/kernel"

    def test_plain_batch_normalization_is_understood(self) -> None:
        shapes = {name.replace("tpu_", ""): shape for name, shape in tf1.variable_shapes(0).items()}
        assert len(assign(as_file(shapes), B0, trunk_shapes(B0)).used) == 309

    def test_another_variant_is_named(self) -> None:
        file = as_file(tf1.variable_shapes(4))
        with pytest.raises(WeightsError, match="This is EfficientNetB4: choose that backbone"):
            assign(file, "EfficientNetB5", trunk_shapes("EfficientNetB5"))

    def test_averages_of_a_part_only_are_refused(self) -> None:
        shapes = tf1.variable_shapes(0)
        shapes["efficientnet-b0/stem/conv2d/kernel" + AVERAGE] = (3, 3, 3, 32)
        with pytest.raises(WeightsError, match="averages of 1 variables, but none of 212"):
            as_file(shapes)


class TestFiles:
    def test_averages_fill_the_trunk(self, training_checkpoint, average) -> None:
        loaded = load_weights(str(training_checkpoint.parent), B0, trunk_shapes(B0))
        keys = checkpoint_keys(average)
        assert loaded.arrays.keys() == trunk_shapes(B0).keys()
        for name, values in average.items():
            if keys[name] in loaded.arrays:
                np.testing.assert_array_equal(loaded.arrays[keys[name]], values, err_msg=name)

    def test_all_else_is_left_out_with_its_reason(self, training_checkpoint) -> None:
        left_out = load_weights(str(training_checkpoint), B0, trunk_shapes(B0)).left_out
        scope = "efficientnet-b0/stem/conv2d/kernel"
        assert left_out[scope] == "raw value; its moving average is used"
        assert left_out[f"{scope}/RMSProp_1"] == "state of an optimizer"
        assert left_out["global_step"] == "no weight of a layer"
        assert "own head" in left_out[f"efficientnet-b0/head/dense/bias{AVERAGE}"]

    def test_raw_values_do_where_there_are_no_averages(self, tmp_path) -> None:
        arrays = random_arrays(tf1.variable_shapes(0))
        prefix = tf1.write_checkpoint(tmp_path / "model.ckpt-1", arrays)
        loaded = load_weights(str(prefix), B0, trunk_shapes(B0))
        expected = arrays["efficientnet-b0/blocks_1/conv2d_1/kernel"]
        np.testing.assert_array_equal(loaded.arrays["block2a_project_conv/kernel"], expected)

    @pytest.mark.parametrize(
        "number",
        [n if n in (1, 5) else pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8)],
    )
    def test_larger_variants_are_read(self, tmp_path, number) -> None:
        arrays = random_arrays(tf1.variable_shapes(number))
        prefix = tf1.write_checkpoint(tmp_path / "model.ckpt", arrays)
        backbone = f"EfficientNetB{number}"
        loaded = load_weights(str(prefix), backbone, trunk_shapes(backbone))
        for path in tmp_path.iterdir():
            path.unlink()
        keys = {name: key for name, key in checkpoint_keys(arrays).items() if key in loaded.arrays}
        assert len(keys) == len(loaded.arrays)
        assert all(np.array_equal(loaded.arrays[key], arrays[name]) for name, key in keys.items())

    def test_state_file_decides_between_several(self, tmp_path) -> None:
        for step in (1, 2):
            arrays = random_arrays(tf1.variable_shapes(0), seed=step)
            tf1.write_checkpoint(tmp_path / f"model.ckpt-{step}", arrays)
        with pytest.raises(WeightsError, match=r"2 checkpoints \(model\.ckpt-1, model"):
            load_weights(str(tmp_path), B0, trunk_shapes(B0))
        state = 'model_checkpoint_path: "/cns/some/where/model.ckpt-1"\n'
        (tmp_path / "checkpoint").write_text(state)
        expected = random_arrays({"x": (3, 3, 3, 32)}, seed=1)["x"]
        loaded = load_weights(str(tmp_path), B0, trunk_shapes(B0))
        np.testing.assert_array_equal(loaded.arrays["stem_conv/kernel"], expected)

    def test_data_cut_short(self, tmp_path) -> None:
        prefix = tf1.write_checkpoint(
            tmp_path / "model.ckpt", random_arrays(tf1.variable_shapes(0))
        )
        data = next(tmp_path.glob("*.data-*"))
        data.write_bytes(data.read_bytes()[:1_000_000])
        with pytest.raises(WeightsError, match="download or copy it again"):
            load_weights(str(prefix), B0, trunk_shapes(B0))

    def test_flipped_bit_is_found(self, tmp_path) -> None:
        prefix = tf1.write_checkpoint(
            tmp_path / "model.ckpt", random_arrays(tf1.variable_shapes(0))
        )
        data = next(tmp_path.glob("*.data-*"))
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
        with pytest.raises(WeightsError, match="is damaged"):
            load_weights(str(prefix), B0, trunk_shapes(B0))

    def test_object_checkpoint_of_keras_2_is_told_apart(self, tmp_path) -> None:
        name = "layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
        prefix = tf1.write_checkpoint(tmp_path / "ckpt", {name: np.zeros(3, np.float32)})
        with pytest.raises(WeightsError, match="object checkpoint of TensorFlow 2"):
            load_weights(str(prefix), B0, trunk_shapes(B0))


class TestForward:
    """The converted network computes what the source's variables compute, in plain TensorFlow."""

    # blocks_0 does not expand, blocks_1 strides, blocks_2 has a shortcut, blocks_3 a 5x5 kernel.
    NUM_BLOCKS = 5

    def plain_forward(self, weights: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
        """Stem and first blocks on scaled pixels [B, H, W, 3], straight from the paper."""

        def norm(x, layer):
            layer = f"efficientnet-b0/{layer}"
            mean, variance = (weights[f"{layer}/moving_{name}"] for name in ("mean", "variance"))
            scaled = (x - mean) / np.sqrt(variance + 1e-3)
            return scaled * weights[f"{layer}/gamma"] + weights[f"{layer}/beta"]

        def conv(x, layer, stride=1):
            kernel = weights[f"efficientnet-b0/{layer}/kernel"]
            bias = weights.get(f"efficientnet-b0/{layer}/bias", np.float32(0))
            return tf.nn.conv2d(x, kernel, stride, "SAME").numpy() + bias

        def swish(x):
            return x / (1 + np.exp(-x))

        x = swish(norm(conv(x, "stem/conv2d", 2), "stem/tpu_batch_normalization"))
        outputs = [x]
        shapes = [row for row in tf1.STAGES for _ in range(row[1])]
        for number in range(self.NUM_BLOCKS):
            first = number in (0, 1, 3, 5)
            stride = shapes[number][2] if first else 1
            scope, norms, inputs = f"blocks_{number}", 0, x
            if shapes[number][3] != 1:
                x = swish(norm(conv(x, f"{scope}/conv2d"), f"{scope}/tpu_batch_normalization"))
                norms = 1
            kernel = weights[f"efficientnet-b0/{scope}/depthwise_conv2d/depthwise_kernel"]
            x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME").numpy()
            names = ["tpu_batch_normalization"]
            names += [f"{names[0]}_{n}" for n in (1, 2)]
            x = swish(norm(x, f"{scope}/{names[norms]}"))
            pooled = swish(conv(x.mean((1, 2), keepdims=True), f"{scope}/se/conv2d"))
            x = x / (1 + np.exp(-conv(pooled, f"{scope}/se/conv2d_1")))
            project = "conv2d_1" if norms else "conv2d"
            x = norm(conv(x, f"{scope}/{project}"), f"{scope}/{names[norms + 1]}")
            if not first:
                x = x + inputs
            outputs.append(x)
        return outputs

    @pytest.mark.parametrize("image_px", [64, 57], ids=["even", "odd"])
    def test_stem_and_blocks_agree(self, training_checkpoint, average, image_px) -> None:
        """From pixels 0..255 on: the scaling is the same (x / 255 - mean) / std for all ways in."""
        keras = pytest.importorskip("keras")
        stage = Stage(
            name="only", image_px=64, batch_size=2, epochs=1, learning_rate=0.1, train_from="head"
        )
        recipe = Recipe(name="test", summary="", backbone=B0, stages=(stage,))
        network = build_network(recipe, num_classes=2, image_px=image_px)
        variables = network.variables()
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        for name, values in load_weights(str(training_checkpoint), B0, shapes).arrays.items():
            variables[name].assign(values)
        ends = ["stem_activation", "block1a_project_bn", "block2a_project_bn", "block2b_add"]
        ends += ["block3a_project_bn", "block3b_add"]
        model = network.model
        parts = keras.Model(model.input, [model.get_layer(name).output for name in ends])
        pixels = np.random.default_rng(0).integers(0, 256, (2, image_px, image_px, 3))
        scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        for name, ours, plain in zip(
            ends,
            parts(pixels.astype(np.float32), training=False),
            self.plain_forward(average, scaled.astype(np.float32)),
            strict=True,
        ):
            largest = np.abs(plain).max()
            np.testing.assert_allclose(ours / largest, plain / largest, atol=2e-5, err_msg=name)
