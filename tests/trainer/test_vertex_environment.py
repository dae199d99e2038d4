from trainer.vertex_environment import VertexEnvironment, copy_model


def test_nothing_is_said_outside_of_the_service():
    assert VertexEnvironment.read({}) == VertexEnvironment()


def test_the_folders_of_the_service_are_read():
    variables = {
        "AIP_CHECKPOINT_DIR": "gs://b/run/checkpoints/",
        "AIP_MODEL_DIR": "gs://b/run/model/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://b/run/logs/",
    }
    assert VertexEnvironment.read(variables) == VertexEnvironment(
        checkpoint_dir="gs://b/run/checkpoints",
        model_dir="gs://b/run/model",
        tensorboard_dir="gs://b/run/logs",
    )


def test_an_empty_variable_says_nothing():
    assert VertexEnvironment.read({"AIP_MODEL_DIR": ""}).model_dir is None


def test_the_model_is_copied_with_its_record(tmp_path):
    run_dir, model_dir = tmp_path / "run", tmp_path / "model"
    run_dir.mkdir()
    (run_dir / "run.json").write_text("{}")
    (run_dir / "model.safetensors").write_bytes(b"weights")
    copy_model(str(run_dir), str(model_dir))
    assert sorted(path.name for path in model_dir.iterdir()) == ["model.safetensors", "run.json"]
