"""Exports of a small run; each wrong one must be caught."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer.exporting.contract import read_contract
from trainer.exporting.targets import plan_targets


@pytest.fixture(scope="module")
def run(tmp_path_factory, cars, fresh_weights):
    """A run folder of its own for the module; one network for all tests."""
    from tests.trainer.conftest import tiny_recipe
    from tfrecords_builder.manifest import load_manifest
    from trainer.devices import make_strategy
    from trainer.engine.tensor_files import write_tensors
    from trainer.inference import TrainedRun
    from trainer.run_record import RunSettings, make_run_record, write_run_record

    folder = tmp_path_factory.mktemp("run")
    manifest = load_manifest(str(cars))
    settings = RunSettings(
        recipe=tiny_recipe(),
        seed=0,
        batch_scaling="fixed",
        data_fingerprint=manifest.fingerprint,
    )
    write_run_record(str(folder), make_run_record(settings, manifest, str(cars), "One", 1))
    arrays = fresh_weights(1)
    # Louder than a fresh head, so that probabilities differ enough to show mistakes.
    arrays["head_logits/kernel"] = arrays["head_logits/kernel"] * 8
    write_tensors(str(folder / "model.safetensors"), arrays, {"image_px": "32"})
    return TrainedRun(str(folder), make_strategy("cpu"), precision="float32")


def new_exporter(run, cars, out: Path, formats=("litert",)):
    from trainer.exporting.exporting import Exporter, ExportRequest

    return Exporter(
        run,
        ExportRequest(
            data_dir=str(cars),
            out=out,
            targets=plan_targets(formats, ("none",)),
            proof_images=12,
        ),
    )


@pytest.fixture(scope="module")
def exporter_of_all(run, cars, tmp_path_factory):
    """What the run says about the photos is computed once: compiling that takes seconds."""
    return new_exporter(run, cars, tmp_path_factory.mktemp("unused"))


@pytest.fixture
def make_exporter(exporter_of_all, tmp_path):
    """Exporters of the run into a folder of the test's own; each can be spoilt alone."""

    def make(formats=("litert",), quantizations=("none",)):
        exporter = copy.copy(exporter_of_all)
        exporter.request = replace(
            exporter.request,
            out=tmp_path / "out",
            targets=plan_targets(formats, quantizations),
        )
        return exporter

    return make


def test_files_that_answer_as_the_run_does_are_kept_and_described(make_exporter, tmp_path):
    document = make_exporter(("litert", "onnx"), ("none", "float16")).export()
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md",
        "export.json",
        "model-float16.tflite",
        "model.onnx",
        "model.tflite",
    ]
    assert json.loads((out / "export.json").read_text()) == document
    for entry in document["files"]:
        assert entry["proof"]["agreement"] == 1, entry
        assert entry["proof"]["map_error"] < 0.01, entry
        assert entry["latency_ms"] > 0
        assert entry["bytes"] == (out / entry["file"]).stat().st_size
    assert read_contract(out / "model.onnx").format == "onnx"
    assert read_contract(out / "model-float16.tflite").quantization == "float16"
    assert "12 photos" in (out / "MODEL_CARD.md").read_text()


def test_a_file_with_wrong_evidence_maps_is_caught(make_exporter):
    from trainer.exporting.runtime import ExportError

    exporter = make_exporter()
    turned = exporter.reference.maps.transpose(0, 2, 1, 3)
    exporter.reference = replace(exporter.reference, maps=turned)
    with pytest.raises(ExportError, match="the evidence maps are"):
        exporter.export()


@pytest.mark.parametrize(
    "form", ["litert", "onnx", pytest.param("saved_model", marks=pytest.mark.slow)]
)
def test_a_file_that_names_the_classes_in_another_order_is_caught(
    make_exporter, monkeypatch, form: str
):
    from trainer.exporting import contract, onnx_file, saved_model
    from trainer.exporting.runtime import ExportError

    right = contract.contract_files

    def turned(one):
        return right(replace(one, classes=one.classes[::-1]))

    for module in (contract, onnx_file, saved_model):
        monkeypatch.setattr(module, "contract_files", turned)
    with pytest.raises(ExportError, match="tells of other classes"):
        make_exporter((form,)).export()


def test_evidence_maps_can_be_left_out_of_every_file(make_exporter):
    exporter = make_exporter(("litert", "onnx", "keras"))
    exporter.request = replace(exporter.request, with_activation=False)
    entries = exporter.export()["files"]
    assert [entry["proof"]["map_error"] for entry in entries] == [None, None, None]


def test_evidence_maps_of_other_views_alone_are_left_out(make_exporter):
    """They would be drawn over the whole photo, but show a part of it, or its mirror image."""
    from trainer.augment.config import IDENTITY, VIEWS
    from trainer.metrics.choice import Candidate

    def maker(views):
        exporter = make_exporter()
        average = Candidate(name="some", weights=(1.0,) * len(views))
        exporter.settings = replace(exporter.settings, views=views, average=average)
        return exporter._file_maker()

    assert not maker(VIEWS["five_crops"]).with_activation
    assert maker((*VIEWS["five_crops"], IDENTITY)).with_activation


def test_a_file_that_does_not_run_does_not_cost_the_others(make_exporter, tmp_path, monkeypatch):
    from trainer.exporting.litert import LiteRtWriter
    from trainer.exporting.runtime import ExportError

    monkeypatch.setattr(LiteRtWriter, "convert", lambda self, quantization: b"no model")
    with pytest.raises(ExportError, match=r"model.tflite does not run in its own runtime"):
        make_exporter(("litert", "onnx")).export()
    document = json.loads((tmp_path / "out" / "export.json").read_text())
    assert [entry["file"] for entry in document["files"]] == ["model.onnx"]
    assert len(document["failures"]) == 1


def test_an_export_that_is_broken_off_tells_of_no_older_files(make_exporter, tmp_path, monkeypatch):
    from trainer.exporting.file_making import FileMaker

    make_exporter(("onnx",)).export()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileMaker, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_exporter(("onnx",)).export()
    assert json.loads((tmp_path / "out" / "export.json").read_text())["files"] == []


def test_int8_without_records_to_calibrate_on_is_told_first(run, cars, tmp_path, monkeypatch):
    from trainer.errors import DataError
    from trainer.exporting import exporting

    monkeypatch.setattr(exporting, "CALIBRATION_SPLIT", "holdout")
    monkeypatch.setattr(exporting, "flatten", None)
    request = exporting.ExportRequest(
        data_dir=str(cars), out=tmp_path, targets=plan_targets(["litert"], ["int8"])
    )
    with pytest.raises(DataError, match="has no split 'holdout'"):
        exporting.Exporter(run, request)


@pytest.fixture
def mirrored(run):
    """Validation has chosen to look twice."""
    from trainer.augment.config import IDENTITY, View
    from trainer.inference_settings import FILE_NAME, InferenceSettings, write_inference_settings
    from trainer.metrics.choice import Candidate

    settings = InferenceSettings(
        weights_sha256=run.weights_sha256,
        views=(IDENTITY, View(mirror=True)),
        average=Candidate(name="mirror", weights=(0.7, 0.3)),
        temperature=1.5,
    )
    write_inference_settings(run.run_dir, settings)
    yield
    Path(run.run_dir, FILE_NAME).unlink()


@pytest.mark.slow
def test_views_and_temperature_are_inside_of_the_files(mirrored, run, cars, tmp_path):
    document = new_exporter(run, cars, tmp_path, ("litert", "onnx")).export()
    assert [entry["proof"]["max_difference"] < 1e-4 for entry in document["files"]] == [True, True]


@pytest.mark.slow
def test_remedies_of_int8_end_with_other_layers_in_float_in_both_views(
    mirrored, run, cars, tmp_path, monkeypatch
):
    """A bound that no int8 file holds, so that every remedy is tried."""
    from trainer.exporting.exporting import Exporter, ExportRequest
    from trainer.exporting.litert import LiteRtWriter
    from trainer.exporting.runtime import ExportError
    from trainer.exporting.targets import BOUNDS

    files = []
    quantize = LiteRtWriter.quantize

    def remembered(self, remedy, calibration, worst_layers=()):
        files.append(quantize(self, remedy, calibration, worst_layers))
        return files[-1]

    monkeypatch.setattr(LiteRtWriter, "quantize", remembered)
    monkeypatch.setitem(BOUNDS, "int8", replace(BOUNDS["int8"], map_error=1e-6))
    request = ExportRequest(
        data_dir=str(cars), out=tmp_path, targets=plan_targets(["litert"], ["int8"]), proof_images=4
    )
    with pytest.raises(ExportError, match="the layers that lose most: ") as caught:
        Exporter(run, request).export()
    named = str(caught.value).split("the layers that lose most: ")[1].split(";")[0].split(", ")
    assert len(set(named)) == 5
    assert {name.split("_")[0] for name in named} <= {"stem", "top", *run.network.blocks}, named
    in_float = [float_layers(data) for data in files]
    # The head is one convolution, which makes the maps, and a matrix for each view.
    assert [len(found) for found in in_float] == [0, 0, 3, 3, 3 + 2 * 5, 3 + 2 * 13], in_float
    assert in_float[4] < in_float[5]


def float_layers(data: bytes) -> set[str]:
    from ai_edge_litert.interpreter import Interpreter

    from trainer.exporting.result_names import read_results

    interpreter = Interpreter(model_content=data)
    types = {entry["index"]: entry["dtype"] for entry in interpreter.get_tensor_details()}
    return {
        result.name
        for result in read_results(interpreter)
        if result.kind in ("CONV_2D", "FULLY_CONNECTED") and types[result.tensor] is np.float32
    }


def test_what_a_format_cannot_hold_is_told_before_anything_is_written(run, cars, tmp_path):
    from trainer.errors import DataError

    usual = run.augmentation
    run.augmentation = replace(usual, clahe="always", clahe_tiles=2)
    try:
        with pytest.raises(DataError, match="onnx of a run with clahe"):
            new_exporter(run, cars, tmp_path / "out", ("litert", "onnx"))
    finally:
        run.augmentation = usual
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_clahe_is_inside_of_litert_files(run, cars, tmp_path):
    usual = run.augmentation
    run.augmentation = replace(usual, clahe="always", clahe_tiles=2, adaptive_gamma="always")
    try:
        document = new_exporter(run, cars, tmp_path).export()
    finally:
        run.augmentation = usual
    assert document["files"][0]["proof"]["max_difference"] < 1e-4


def wrong_scaling(network):
    scale = network.operations[0]
    assert scale.kind == "scale"
    wrong = replace(scale, kernel=scale.kernel / 255)
    return replace(network, operations=(wrong, *network.operations[1:]))


def wrong_label_order(network):
    order = np.roll(np.arange(network.num_classes), 1)
    return replace(
        network,
        head_kernel=network.head_kernel[:, order],
        head_bias=network.head_bias[order],
    )


@pytest.mark.parametrize("plant", [wrong_scaling, wrong_label_order])
def test_a_wrong_file_is_caught_and_not_kept(make_exporter, tmp_path, plant):
    from trainer.exporting.runtime import ExportError

    exporter = make_exporter()
    exporter.network = plant(exporter.network)
    out = tmp_path / "out"
    out.mkdir()
    name = exporter.request.targets[0].name
    (out / name).write_bytes(b"an older file")
    with pytest.raises(ExportError, match="is not the network that it was made of") as caught:
        exporter.export()
    assert caught.value.exit_code == 4
    assert not (out / name).exists()
    assert not list(out.glob(".unproven*"))
    assert json.loads((out / "export.json").read_text())["failures"] == [str(caught.value)]


@pytest.mark.slow
def test_int8_keras_and_saved_model_prove_themselves(make_exporter, tmp_path):
    import tensorflow as tf

    document = make_exporter(("litert", "keras", "saved_model"), ("int8",)).export()
    assert [entry["file"] for entry in document["files"]] == [
        "model-int8.tflite",
        "model.keras",
        "saved_model",
    ]
    assert document["files"][0]["remedy"]["name"]
    assert document["files"][2]["proof_on_encoded"]["agreement"] >= 0.9
    out = tmp_path / "out"
    assert read_contract(out / "model.keras").format == "keras"
    contract = read_contract(out / "saved_model" / "1")
    serving = tf.saved_model.load(str(out / "saved_model" / "1")).signatures["serving_default"]
    photos = [_photo(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP")]
    answer = serving(encoded=tf.constant(photos))
    assert answer["probabilities"].shape == (4, len(contract.classes))
    assert answer["classes"].numpy()[2].tolist() == [name.encode() for name in contract.classes]
    with pytest.raises(tf.errors.InvalidArgumentError, match="this is a BMP file of a kind"):
        serving(encoded=tf.constant([*photos, _photo("BMP", "P")]))


def _photo(kind: str, mode: str = "RGB") -> bytes:
    from tests.trainer.exporting.making import encode, photo_of

    return encode(photo_of(50, 30).convert(mode), kind)
