"""Which package may know which: launch -> plain data of trainer -> reading side of the builder."""

import ast
import importlib.util
import os
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("tfrecords_builder", "trainer", "launch")

READING_SIDE = {
    "tfrecords_builder.command_line",
    "tfrecords_builder.encoding",
    "tfrecords_builder.errors",
    "tfrecords_builder.manifest",
    "tfrecords_builder.pixels",
    "tfrecords_builder.records",
    "tfrecords_builder.sources.photo_files",
    "tfrecords_builder.storage",
}
"""What the trainer may use of the builder: contracts, readers, what finds the photos of a folder,
and the pure function that makes a photo what a record holds; nothing that writes records."""


@pytest.fixture(scope="module")
def graph():
    grimp = pytest.importorskip("grimp")
    return grimp.build_graph(*PACKAGES, cache_dir=None, exclude_type_checking_imports=True)


def _imports_between(graph, importer: str, imported: str) -> set[tuple[str, str]]:
    return {
        (module, target)
        for module in graph.modules
        if module.split(".")[0] == importer
        for target in graph.find_modules_directly_imported_by(module)
        if target.split(".")[0] == imported
    }


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("tfrecords_builder", "trainer"), ("tfrecords_builder", "launch"), ("trainer", "launch")],
)
def test_nothing_points_back(graph, importer, imported):
    assert _imports_between(graph, importer, imported) == set()


def test_trainer_uses_only_the_reading_side_of_the_builder(graph):
    links = _imports_between(graph, "trainer", "tfrecords_builder")
    assert links, "the trainer reads manifests: the graph should show it"
    assert {(a, b) for a, b in links if b not in READING_SIDE} == set()


def test_modules_import_in_no_circle(graph):
    # static_order raises CycleError and names the circle.
    order = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(list(TopologicalSorter(order).static_order())) == len(graph.modules)


def _module_level_imports(path: Path) -> set[str]:
    """Top-level names imported when the module is imported; inside functions is not."""
    names: set[str] = set()
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
            ]
    return names


@pytest.mark.parametrize("package", ["tfrecords_builder", "launch"])
def test_package_never_imports_tensorflow_when_it_is_imported(package):
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "kaggle"}
    found = {
        str(path.relative_to(REPOSITORY)): sorted(_module_level_imports(path) & heavy)
        for path in (REPOSITORY / package).rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == {}


def _commands() -> list[str]:
    """Every module of ours that can be run with `python -m`."""
    found = []
    for package in PACKAGES:
        for info in pkgutil.walk_packages([str(REPOSITORY / package)], prefix=f"{package}."):
            spec = importlib.util.find_spec(info.name) if not info.ispkg else None
            if spec and spec.origin and '__name__ == "__main__"' in Path(spec.origin).read_text():
                found.append(info.name.removesuffix(".__main__"))
    return sorted(found)


@pytest.mark.parametrize("command", _commands())
def test_help_answers_without_tensorflow(command):
    """`--help` of a command must not wait for TensorFlow; nor may TensorFlow have to be there."""
    watch = (
        "import sys, runpy\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('tensorflow', 'keras'):\n"
        "            raise AssertionError(f'--help imported {name}')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"sys.argv = [{command!r}, '--help']\n"
        f"runpy.run_module({command!r}, run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "--help imported" not in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "flags" in done.stdout or "usage" in done.stdout.lower(), done.stdout + done.stderr


def test_the_commands_of_the_readme_are_found():
    assert "tfrecords_builder" in _commands()
