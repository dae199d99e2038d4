"""Files of both Keras generations, written by hand in their layouts and by the Keras at hand."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.trainer.weights import written
from trainer.weights import WeightsError, keras_files, load_weights
from trainer.weights.backbones import trunk_shapes

B0 = "EfficientNetB0"
HEAD = {"head_bn/gamma": (1280,), "head_logits/kernel": (1280, 10), "head_logits/bias": (10,)}


def assert_same(loaded, arrays) -> None:
    assert loaded.arrays.keys() == arrays.keys()
    different = [key for key in arrays if not np.array_equal(loaded.arrays[key], arrays[key])]
    assert different == []


class TestKeras2:
    def test_weights_file_fills_the_trunk(self, tmp_path: Path, b0) -> None:
        path = written.write_keras2_weights(tmp_path / "efficientnetb0_notop.h5", b0)
        loaded = load_weights(str(path), B0, trunk_shapes(B0))
        assert_same(loaded, b0)
        assert loaded.used["block1a_dwconv/kernel"].endswith("block1a_dwconv/depthwise_kernel:0")

    def test_names_in_several_attributes_are_joined(self, tmp_path: Path, b0) -> None:
        path = written.write_keras2_weights(tmp_path / "weights.h5", b0, pieces=3)
        assert_same(load_weights(str(path), B0, trunk_shapes(B0)), b0)

    def test_another_head_and_preprocessing_are_left_out_with_reasons(
        self, tmp_path: Path, b0
    ) -> None:
        extra = {
            "normalization/mean": np.zeros(3, np.float32),
            "normalization/count": np.zeros((), np.int64),
            "predictions/kernel": np.zeros((1280, 1000), np.float32),
        }
        path = written.write_keras2_weights(tmp_path / "efficientnetb0.h5", {**b0, **extra})
        loaded = load_weights(str(path), B0, {**trunk_shapes(B0), **HEAD})
        assert_same(loaded, b0)
        reasons = {name.split("/")[0]: reason for name, reason in loaded.left_out.items()}
        assert "own, fixed one" in reasons["normalization"]
        assert "own head" in reasons["predictions"]
        assert loaded.not_filled == tuple(HEAD)

    def test_whole_model_gives_its_weights_and_leaves_its_optimizer(
        self, tmp_path: Path, b0
    ) -> None:
        path = written.write_keras2_model(tmp_path / "best_model_456.hdf5", b0)
        loaded = load_weights(str(path), B0, trunk_shapes(B0))
        assert_same(loaded, b0)
        assert set(loaded.left_out.values()) == {"state of an optimizer"}
        assert len(loaded.left_out) == 2 * len(b0) + 1

    def test_trunk_nested_in_a_model_is_found(self, tmp_path: Path, b0) -> None:
        head = {
            "dense/kernel": np.ones((1280, 10), np.float32),
            "dense/bias": np.ones(10, np.float32),
        }
        path = written.write_keras2_model(
            tmp_path / "model.h5", {**b0, **head}, nested_in="efficientnetb0"
        )
        assert_same(load_weights(str(path), B0, trunk_shapes(B0)), b0)

    def test_lambda_layer_is_not_run_but_told(self, tmp_path: Path, b0) -> None:
        path = written.write_keras2_model(tmp_path / "model.h5", b0, lambda_layer=True)
        loaded = load_weights(str(path), B0, trunk_shapes(B0))
        assert_same(loaded, b0)
        assert len(loaded.notes) == 1
        assert "Lambda layer 'halve'" in loaded.notes[0]


class TestNumberedLayers:
    """Keras 2.12 to 3.2 wrote no layer names into the weights."""

    @pytest.mark.parametrize(
        "container", ["layers", "_layer_checkpoint_dependencies", "layers/functional/layers"]
    )
    def test_archive_takes_names_from_its_configuration(
        self, tmp_path: Path, b0, container
    ) -> None:
        path = written.write_numbered_archive(tmp_path / "model.keras", b0, container)
        assert_same(load_weights(str(path), B0, trunk_shapes(B0)), b0)

    def test_weights_alone_are_named_by_their_order(self, tmp_path: Path, b0) -> None:
        path = tmp_path / "model.weights.h5"
        written.write_numbered_weights(path, b0)
        assert_same(load_weights(str(path), B0, trunk_shapes(B0)), b0)

    def test_another_variant_is_recognised(self, tmp_path: Path, b0) -> None:
        path = tmp_path / "model.weights.h5"
        written.write_numbered_weights(path, b0)
        with pytest.raises(WeightsError, match="This is EfficientNetB0"):
            load_weights(str(path), "EfficientNetB3", trunk_shapes("EfficientNetB3"))


@pytest.fixture(scope="module")
def model():
    """A head on a nested B0, ready to train with Adam, as Keras itself makes it."""
    keras = pytest.importorskip("keras")
    trunk = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    model = keras.Sequential([trunk, keras.layers.Dense(3, name="answer")])
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(rng.random(variable.shape, np.float32))
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras with NumPy 2
class TestKerasAtHand:
    @pytest.mark.parametrize("name", ["w.weights.h5", "model.keras", "model.h5", "model.hdf5"])
    @pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
    def test_every_file_it_writes_is_read_back(self, tmp_path: Path, model, name, nested) -> None:
        saved = model if nested else model.layers[0]
        (saved.save_weights if "weights" in name else saved.save)(tmp_path / name)
        loaded = load_weights(str(tmp_path / name), B0, trunk_shapes(B0))
        expected = {
            f"{layer.name}/{variable.name}": variable.numpy()
            for layer in model.layers[0].layers
            for variable in layer.variables
            if f"{layer.name}/{variable.name}" in trunk_shapes(B0)
        }
        assert_same(loaded, expected)


class TestRealFile:
    def test_v2_b0_fills_every_variable(self, material: Path) -> None:
        path = material / "weights" / "efficientnetv2-b0_notop.h5"
        shapes = trunk_shapes("EfficientNetV2B0")
        loaded = load_weights(str(path), "EfficientNetV2B0", shapes)
        assert {key: values.shape for key, values in loaded.arrays.items()} == dict(shapes)
        assert loaded.left_out == {}
        assert loaded.arrays["stem_bn/moving_variance"].min() > 0


class TestDamagedFiles:
    def test_file_cut_short(self, tmp_path: Path, b0) -> None:
        whole = written.write_keras2_weights(tmp_path / "whole.h5", b0).read_bytes()
        (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="cut short"):
            load_weights(str(tmp_path / "cut.h5"), B0, trunk_shapes(B0))

    def test_archive_cut_short(self, tmp_path: Path, b0) -> None:
        whole = written.write_numbered_archive(tmp_path / "whole.keras", b0).read_bytes()
        (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="cut short"):
            load_weights(str(tmp_path / "cut.keras"), B0, trunk_shapes(B0))

    def test_archive_with_a_flipped_byte(self, tmp_path: Path, b0) -> None:
        path = written.write_numbered_archive(tmp_path / "model.keras", b0)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="damaged"):
            load_weights(str(path), B0, trunk_shapes(B0))

    def test_web_page_in_place_of_weights(self, tmp_path: Path) -> None:
        (tmp_path / "w.h5").write_text("<!DOCTYPE html><title>Sign in</title>")
        with pytest.raises(WeightsError, match="a web page"):
            load_weights(str(tmp_path / "w.h5"), B0, trunk_shapes(B0))

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "w.h5").touch()
        with pytest.raises(WeightsError, match="is empty"):
            load_weights(str(tmp_path / "w.h5"), B0, trunk_shapes(B0))

    def test_hdf5_of_another_program(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["measurements"] = np.zeros(3)
        with pytest.raises(
            WeightsError, match=r"not written by Keras \(it holds \['measurements'\]\)"
        ):
            load_weights(str(tmp_path / "w.h5"), B0, trunk_shapes(B0))

    def test_archive_without_weights(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
            archive.writestr("readme.txt", "nothing")
        with pytest.raises(WeightsError, match=r"without 'model\.weights\.h5'"):
            load_weights(str(tmp_path / "w.keras"), B0, trunk_shapes(B0))

    def test_numbers_that_are_none(self, tmp_path: Path, b0) -> None:
        bad = {**b0, "top_bn/beta": np.full(1280, np.nan, np.float32)}
        path = written.write_keras2_weights(tmp_path / "w.h5", bad)
        with pytest.raises(WeightsError, match=r"1,280 values in 'top_bn/top_bn/beta:0'"):
            load_weights(str(path), B0, trunk_shapes(B0))


class TestHostileFiles:
    def test_zip_bomb_is_refused_before_unpacking(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", bytes(8 << 20))
        with pytest.raises(WeightsError, match="no honest file"):
            load_weights(str(path), B0, trunk_shapes(B0))

    def test_archive_over_the_size_limit_is_refused(self, tmp_path: Path, b0, monkeypatch) -> None:
        path = written.write_numbered_archive(tmp_path / "model.keras", b0)
        monkeypatch.setattr(keras_files, "MAX_WEIGHTS_BYTES", 1 << 20)
        with pytest.raises(WeightsError, match="at most 1,048,576"):
            load_weights(str(path), B0, trunk_shapes(B0))

    def test_link_to_another_file_is_not_followed(self, tmp_path: Path, b0) -> None:
        other = written.write_keras2_weights(tmp_path / "other.h5", b0)
        path = written.write_keras2_weights(tmp_path / "w.h5", b0)
        with h5py.File(path, "a") as file:
            del file["stem_conv/stem_conv/kernel:0"]
            file["stem_conv/stem_conv/kernel:0"] = h5py.ExternalLink(
                other, "stem_conv/stem_conv/kernel:0"
            )
        with pytest.raises(WeightsError, match="only a link"):
            load_weights(str(path), B0, trunk_shapes(B0))

    def test_bytes_of_another_file_are_not_read(self, tmp_path: Path, b0) -> None:
        (tmp_path / "secret").write_bytes(bytes(4 * 3 * 3 * 3 * 32))
        path = written.write_keras2_weights(tmp_path / "w.h5", b0)
        with h5py.File(path, "a") as file:
            del file["stem_conv/stem_conv/kernel:0"]
            file.create_dataset(
                "stem_conv/stem_conv/kernel:0",
                (3, 3, 3, 32),
                np.float32,
                external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)],
            )
        with pytest.raises(WeightsError, match="in another file"):
            load_weights(str(path), B0, trunk_shapes(B0))

    def test_tensor_that_claims_to_be_huge_is_not_read(self, tmp_path: Path, b0) -> None:
        path = written.write_keras2_weights(tmp_path / "w.h5", b0)
        with h5py.File(path, "a") as file:
            del file["stem_conv/stem_conv/kernel:0"]
            file.create_dataset(
                "stem_conv/stem_conv/kernel:0", (1 << 40,), np.float32, chunks=(1 << 20,)
            )
        with pytest.raises(WeightsError, match="differ in shape"):
            load_weights(str(path), B0, trunk_shapes(B0))
