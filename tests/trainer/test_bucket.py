"""A run whose data, folder and curves are all on `gs://`, through TensorFlow's own client."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gcs_for_tensorflow import TensorFlowGcs
from tests.trainer.test_task import REPOSITORY, TINY_RUN

RUN = "gs://bucket/runs/one"
LOADING = {"bucket": "false", "disk": "auto"}
"""TensorBoard's quick loader cannot read buckets."""


@pytest.fixture(scope="module")
def storage(cars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorFlowGcs]:
    storage = TensorFlowGcs(tmp_path_factory.mktemp("certificates"))
    for path in cars.iterdir():
        if path.is_file():
            storage.objects.put(f"bucket/data/{path.name}", path.read_bytes())
    yield storage
    storage.close()


def start(storage: TensorFlowGcs, module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **storage.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(storage: TensorFlowGcs, data: str, run_dir: str) -> subprocess.Popen[str]:
    arguments = [f"--data={data}", f"--run_dir={run_dir}", "--strategy=cpu", *TINY_RUN]
    arguments.append("--checkpoint_every=3s")
    return start(storage, "trainer.task", *arguments)


@pytest.fixture(scope="module")
def killed_and_finished(storage: TensorFlowGcs) -> None:
    """A run of two starts, of which the first was killed after its first checkpoint."""
    with train(storage, "gs://bucket/data", RUN) as first:
        while first.poll() is None and not checkpoints(storage):
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        output, _ = first.communicate(timeout=60)
    assert checkpoints(storage), output
    with train(storage, "gs://bucket/data", RUN) as second:
        output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output


def checkpoints(storage: TensorFlowGcs) -> list[str]:
    names = storage.objects.files("bucket/runs/one/checkpoints")
    return [name for name in list(names) if not name.endswith(".part")]


@pytest.mark.slow
def test_a_run_killed_in_a_bucket_ends_as_an_undisturbed_one_on_a_disk(
    storage: TensorFlowGcs, killed_and_finished: None, cars: Path, tmp_path: Path
) -> None:
    with train(storage, str(cars), str(tmp_path / "run")) as undisturbed:
        output, _ = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, output
    files = storage.objects.files("bucket/runs/one")
    assert json.loads(files["run.json"])["num_starts"] == 2
    assert files["model.safetensors"] == (tmp_path / "run" / "model.safetensors").read_bytes()
    assert not [name for name in files if name.endswith(".part")]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["bucket", "disk"])
def test_tensorboard_opens_with_the_story_of_the_run(
    where: str, storage: TensorFlowGcs, killed_and_finished: None, browser, tmp_path: Path
) -> None:
    folder = f"{RUN}/tensorboard"
    if where == "disk":
        folder = str(tmp_path)
        files = storage.objects.files("bucket/runs/one/tensorboard")
        for name, data in files.items():
            if name.endswith("/") or not name:
                continue  # What stands for a folder.
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    arguments = [f"--logdir={folder}", "--port=0", f"--load_fast={LOADING[where]}"]
    with start(storage, "tensorboard.main", *arguments) as process:
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            url = address(process)
            deadline = time.monotonic() + 60
            while not runs_at(url) >= {"train", "validation"} and time.monotonic() < deadline:
                time.sleep(0.5)  # The page does not ask again by itself.
            page.goto(f"{url}#custom_scalars")
            for text in ("Is it learning?", "accuracy, train and validation", "validation"):
                page.get_by_text(text).locator("visible=true").first.wait_for()
            record = json.loads(storage.objects.files("bucket/runs/one")["run.json"])
            shown = page.evaluate(
                "fetch('data/plugin/scalars/scalars?run=validation&tag=progress/accuracy')"
                ".then((answer) => answer.json())"
            )
            assert [step for _, step, _ in shown] == [epoch["step"] for epoch in record["history"]]
            assert [value for *_, value in shown] == pytest.approx(
                [epoch["val_accuracy"] for epoch in record["history"]]
            )
            for plugin, text in (("text", "data and machine"), ("hparams", "backbone")):
                page.goto(f"{url}#{plugin}")
                page.get_by_text(text).locator("visible=true").first.wait_for()
        finally:
            process.kill()


def address(process: subprocess.Popen[str]) -> str:
    """Where TensorBoard says that it is."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+:\d+/", line):
            return found[0]
    raise AssertionError("TensorBoard ended without an address")


def runs_at(url: str) -> set[str]:
    """What TensorBoard has found so far."""
    with urllib.request.urlopen(f"{url}data/runs", timeout=30) as answer:
        return set(json.load(answer))
