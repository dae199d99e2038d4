"""Weights by name, from servers on the loopback."""

import hashlib
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.weights import tf1, written
from tests.trainer.weights.server import Bucket, serve
from tests.trainer.weights.written import random_arrays
from trainer.weights import WeightsError, load_weights, published
from trainer.weights.backbones import trunk_shapes

B0 = "EfficientNetB0"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class TestNoisyStudent:
    def test_archive_is_fetched_once_and_converted(self, tmp_path: Path, monkeypatch) -> None:
        pytest.importorskip("tensorflow")
        arrays = random_arrays(tf1.variable_shapes(0))
        folder = tmp_path / "noisy_student_efficientnet-b0"
        tf1.write_checkpoint(folder / "model.ckpt", arrays)
        with tarfile.open(tmp_path / "packed.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(folder, folder.name)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with serve(Bucket((tmp_path / "packed.tar.gz").read_bytes())) as bucket:
            address = bucket.address("noisy_student_efficientnet-{variant}.tar.gz")
            monkeypatch.setattr(published, "NOISY_STUDENT_URL", address)
            for _ in range(2):
                loaded = load_weights("noisy-student", B0, trunk_shapes(B0))
        assert len(bucket.ranges) == 1
        assert loaded.sha256 == hashlib.sha256(bucket.content).hexdigest()
        np.testing.assert_array_equal(
            loaded.arrays["top_conv/kernel"], arrays["efficientnet-b0/head/conv2d/kernel"]
        )

    def test_address_is_the_published_one(self, monkeypatch) -> None:
        asked: list[str] = []
        monkeypatch.setattr(published, "fetch", lambda url, folder: asked.append(url))
        published.published_file("noisy-student", "efficientnet-b5")
        bucket = "https://storage.googleapis.com/cloud-tpu-checkpoints"
        name = "noisy_student_efficientnet-b5.tar.gz"
        assert asked == [f"{bucket}/efficientnet/noisystudent/{name}"]

    def test_second_family_has_none(self) -> None:
        with pytest.raises(WeightsError, match="no noisy-student weights of EfficientNetV2S"):
            load_weights("noisy-student", "EfficientNetV2S", {})


class TestImagenet:
    @pytest.fixture
    def builder(self):
        """Keras' module with the addresses and hashes of the first family."""
        keras = pytest.importorskip("keras")
        return sys.modules[keras.applications.EfficientNetB0.__module__]

    @pytest.fixture
    def keras_cache(self, tmp_path: Path, monkeypatch) -> Path:
        keras = pytest.importorskip("keras")
        get_file = keras.utils.get_file

        def into_folder(*args, **kwargs):
            return get_file(*args, **kwargs, cache_dir=tmp_path)

        monkeypatch.setattr(keras.utils, "get_file", into_folder)
        return tmp_path

    def test_file_of_keras_is_loaded(self, keras_cache, builder, b0, monkeypatch) -> None:
        content = written.write_keras2_weights(keras_cache / "w.h5", b0).read_bytes()
        monkeypatch.setitem(builder.WEIGHTS_HASHES, "b0", ("", hashlib.md5(content).hexdigest()))
        with serve(Bucket(content)) as bucket:
            monkeypatch.setattr(builder, "BASE_WEIGHTS_PATH", bucket.address("models/"))
            loaded = load_weights("imagenet", B0, trunk_shapes(B0))
        np.testing.assert_array_equal(loaded.arrays["stem_bn/beta"], b0["stem_bn/beta"])

    def test_wrong_checksum_is_told_with_the_remedy(
        self, keras_cache, builder, monkeypatch
    ) -> None:
        with serve(Bucket(b"not the weights")) as bucket:
            monkeypatch.setattr(builder, "BASE_WEIGHTS_PATH", bucket.address("models/"))
            with pytest.raises(WeightsError, match=r"corrupted file .* and give its path"):
                load_weights("imagenet", B0, {})

    def test_no_network_is_one_line_with_a_remedy(self, keras_cache, builder, monkeypatch) -> None:
        monkeypatch.setattr(builder, "BASE_WEIGHTS_PATH", "http://127.0.0.1:9/")
        with pytest.raises(WeightsError) as caught:
            load_weights("imagenet", B0, {})
        assert "\n" not in str(caught.value)
        assert "they are at http://127.0.0.1:9/efficientnetb0_notop.h5" in str(caught.value)
        assert "MD5 50bc09e76180e00e4465e1a485ddc09d" in str(caught.value)

    @pytest.mark.parametrize(
        ("backbone", "name"),
        [
            ("EfficientNetB7", "keras-applications/efficientnetb7_notop.h5"),
            ("EfficientNetV2B3", "efficientnet_v2/efficientnetv2-b3_notop.h5"),
            ("EfficientNetV2L", "efficientnet_v2/efficientnetv2-l_notop.h5"),
        ],
    )
    def test_same_file_as_keras_itself_asks_for(self, backbone, name, monkeypatch) -> None:
        keras = pytest.importorskip("keras")
        asked = []

        def record(file_name, origin, **kwargs):
            asked.append((file_name, origin, kwargs["file_hash"]))
            return file_name

        monkeypatch.setattr(keras.utils, "get_file", record)
        published.published_file("imagenet", backbone)
        (file_name, origin, md5) = asked[0]
        assert origin.endswith(name)
        assert origin.endswith(file_name)
        assert len(md5) == 32
