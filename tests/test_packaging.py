"""What a user installs: the wheel and the sdist, outside of the tree; and the locks behind make."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("tfrecords_builder", "trainer", "launch")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def _locked(name: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for line in (REPOSITORY / "requirements" / f"{name}.lock").read_text().splitlines():
        requirement = Requirement(line)
        versions.setdefault(canonicalize_name(requirement.name), set()).add(
            str(requirement.specifier)
        )
    return versions


def _requirements(extra: str) -> list[Requirement]:
    found = []
    for line in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            found += [r for inner in sorted(requirement.extras) for r in _requirements(inner)]
        else:
            found.append(requirement)
    return found


def test_the_base_requirements_hold_no_tensorflow():
    names = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert not [name for name in names if name.startswith(("tensorflow", "keras"))]


@pytest.mark.parametrize(
    ("extra", "build"),
    [("cpu", "tensorflow-cpu"), ("gpu", "tensorflow"), ("tpu", "tensorflow-tpu")],
)
def test_each_accelerator_brings_exactly_one_tensorflow(extra, build):
    builds = {"tensorflow", "tensorflow-cpu", "tensorflow-tpu"}
    assert {r.name for r in _requirements(extra)} & builds == {build}
    assert set(_locked(extra)) & builds == {build}


def test_tpu_pins_are_the_ones_that_start():
    locked = _locked("tpu")
    assert locked["tensorflow-tpu"] == {"==2.19.1"}
    assert locked["libtpu"] == {"==0.0.10"}
    assert Requirement("numpy<2.2").specifier.contains(_only(locked["numpy"]))
    assert Requirement("protobuf<6").specifier.contains(_only(locked["protobuf"]))


def _only(specifiers: set[str]) -> str:
    (specifier,) = specifiers
    return specifier.removeprefix("==")


@pytest.mark.parametrize("extra", ["cpu", "gpu", "tpu", "dev"])
def test_lock_satisfies_what_pyproject_asks_for(extra):
    locked = _locked(extra)
    wanted = [Requirement(line) for line in PROJECT["dependencies"]] + _requirements(extra)
    for requirement in wanted:
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{extra}.lock lacks {name}: run make lock"
        for specifier in locked[name]:
            assert requirement.specifier.contains(specifier.removeprefix("==")), (
                f"{extra}.lock has {name}{specifier}, pyproject.toml asks for {requirement}"
            )


@pytest.mark.parametrize("extra", ["cpu", "gpu", "tpu", "dev"])
def test_lock_pins_exact_versions_and_names_no_host(extra):
    text = (REPOSITORY / "requirements" / f"{extra}.lock").read_text()
    assert "/" not in text
    for specifiers in _locked(extra).values():
        assert all(re.fullmatch(r"==[\w.+!]+", specifier) for specifier in specifiers), specifiers


def test_dev_lock_holds_the_very_versions_of_the_cpu_lock():
    cpu, dev = _locked("cpu"), _locked("dev")
    assert {name: dev.get(name) for name in cpu} == cpu


def _third_party_imports(folder: Path) -> dict[str, Path]:
    found = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found |= {name.split(".")[0]: path for name in names}
    ours = {*PACKAGES, "tests", "benchmarks", *sys.stdlib_module_names}
    return {name: path for name, path in found.items() if name not in ours}


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_every_import_is_of_a_declared_requirement(folder):
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = set(PROJECT["optional-dependencies"])
    extras -= {"dev"} if folder == "tests" else {"dev", "test"}
    declared |= {canonicalize_name(r.name) for extra in extras for r in _requirements(extra)}
    distributions = packages_distributions()
    for name, path in _third_party_imports(REPOSITORY / folder).items():
        # An extra may be absent here; then the names have to be alike.
        providers = {canonicalize_name(found) for found in distributions.get(name, [name])}
        assert providers & declared, f"{path} imports {name}, which pyproject.toml does not declare"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """sdist and, out of it, the wheel, from a copy of the tree."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    tree = folder / "tree"
    ignored = ignore_patterns(".*", "demo", "build", "dist", "*.egg-info", "__pycache__", "shared")
    copytree(REPOSITORY, tree, ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "out", tree],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "out").glob("*.whl")
    (sdist,) = (folder / "out").glob("*.tar.gz")
    return wheel, sdist


def _files_of_the_packages() -> set[str]:
    return {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == _files_of_the_packages()


@pytest.mark.slow
def test_sdist_holds_every_file_of_the_packages(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert _files_of_the_packages() <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE"} <= names


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel unpacked as pip would, in a folder far from the tree."""
    site = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            site,
            built[0],
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return site


def _run(site: Path, cwd: Path, *arguments: str, without: str = "") -> subprocess.CompletedProcess:
    """Runs Python outside the tree; with `without`, packages of that prefix are not to be found."""
    path = [str(site)]
    flags = []
    if without:
        # No site-packages; links to all that is in there instead, but for what is left out.
        flags, links = ["-S"], cwd / "links"
        links.mkdir(exist_ok=True)
        for folder in {Path(p) for p in sys.path if p.endswith("-packages")}:
            for entry in folder.iterdir():
                if not re.match(without, entry.name) and not (links / entry.name).exists():
                    (links / entry.name).symlink_to(entry)
        path.append(str(links))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    return subprocess.run(
        [sys.executable, *flags, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_installed_package_is_found_outside_the_tree(installed, tmp_path):
    done = _run(installed, tmp_path, "-c", "import trainer; print(trainer.__file__)")
    assert done.stdout.startswith(str(installed)), done.stdout + done.stderr


@pytest.mark.slow
def test_without_tensorflow_photos_become_records_and_training_says_what_to_install(
    installed, tmp_path
):
    build = ["-m", "tfrecords_builder", "--source=synthetic", "--num_images=30", "--out=data"]
    built = _run(installed, tmp_path, *build, without="tensorflow|keras")
    assert built.returncode == 0, built.stdout + built.stderr
    train = ["-m", "trainer.task", "--data=data", "--run_dir=run", "--recipe=demo"]
    done = _run(installed, tmp_path, *train, "--strategy=cpu", without="tensorflow|keras")
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(r"error: .*TensorFlow.*staged-trainer\[cpu\].*\n", done.stderr), done.stderr


@pytest.mark.slow
def test_installed_recipes_can_be_listed(installed, tmp_path):
    names = "sorted(m.name for m in pkgutil.iter_modules(trainer.recipes.__path__))"
    code = f"import pkgutil, trainer.recipes; print({names})"
    done = _run(installed, tmp_path, "-c", code)
    assert "'demo'" in done.stdout, done.stdout + done.stderr
    assert "'ford_vs_ferrari'" in done.stdout
