"""The engine's real step through the real TPU compiler; `make test-aot` has what it needs."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.trainer.making import make_recipe, make_stage
from trainer.lowering.lower import LoweringRequest
from trainer.lowering.processes import CompilerProcesses
from trainer.lowering.program_report import CompiledProgram, OutOfMemory
from trainer.lowering.topologies import load_topology

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None or importlib.util.find_spec("libtpu") is None,
    reason="jax and libtpu of the extra aot are not installed here; see make test-aot",
)


def make_request(**changes) -> LoweringRequest:
    stage = make_stage(image_px=32, batch_size=16, train_from="block3a")
    return LoweringRequest(
        recipe=make_recipe(replace(stage, **changes), precision="mixed_bfloat16"),
        stage="finish",
        num_examples=64,
        num_classes=4,
        num_replicas=8,
    )


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> CompilerProcesses:
    return CompilerProcesses(cache_dir=tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def module(processes) -> bytes:
    return processes.lower(make_request())


@pytest.fixture(scope="module", params=["v5e-8", "v3-8"])
def program(request, processes, module) -> CompiledProgram:
    result = processes.compile(module, load_topology(request.param), low_effort=True)
    assert isinstance(result, CompiledProgram)
    return result


def test_the_step_sums_over_the_replicas(program):
    assert program.num_all_reduces >= 1


def test_the_step_updates_variables_in_place(program):
    # Three copies (weights, two moments) of the 0.56 M trained parameters in float32.
    assert program.aliased_bytes > 6 * 2**20


def test_the_step_fits(program):
    assert 0 < program.peak_gib < 1


def test_nothing_is_computed_twice(program):
    assert program.num_recomputed == 0


def test_freezing_the_lower_half_saves_work(processes, module):
    topology = load_topology("v5e-8")
    everything = processes.lower(make_request(train_from="all"))
    flops = [
        processes.compile(each, topology, low_effort=True).flops for each in (module, everything)
    ]
    assert flops[0] < flops[1]


def test_the_same_step_lowers_to_the_same_program(processes, module):
    assert processes.lower(make_request()) == module


def test_too_little_memory_is_told_with_numbers(processes, module):
    result = processes.compile(
        module,
        load_topology("v5e-8"),
        low_effort=True,
        options=("xla_tpu_max_hbm_size_mib=8",),
    )
    assert isinstance(result, OutOfMemory), result
    assert "RESOURCE_EXHAUSTED" in result.message


def test_portable_stablehlo_is_read_back(processes, tmp_path):
    path = tmp_path / "step.mlirbc"
    processes.write_portable(make_request(), str(path))
    script = (
        "import sys; from jax._src.interpreters.mlir import make_ir_context; "
        "from jaxlib.mlir.dialects import stablehlo; c = make_ir_context(); "
        "m = stablehlo.deserialize_portable_artifact(c, open(sys.argv[1], 'rb').read()); "
        "print('all_reduce' in str(m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "True", done.stderr[-2000:]
