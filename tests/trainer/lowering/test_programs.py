"""Without the compiler: what its output says, and what is asked of it."""

import pytest

from tests.trainer.making import make_recipe, make_stage
from trainer.errors import DeviceError
from trainer.lowering.lower import LoweringRequest
from trainer.lowering.processes import CompilerProcesses, cache_key, result_from_json
from trainer.lowering.program_report import OutOfMemory, parse_program
from trainer.lowering.topologies import TOPOLOGIES, load_topology

HLO = """HloModule step

%fused (p: f32[2]) -> f32[2] {
  %ar = f32[2] all-reduce(%p)
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %a = f32[2] fusion(%p), backend_config={"estimated_cycles":"100"}
  %b.remat = f32[2] fusion(%p), backend_config={"estimated_cycles":"20"}
  %c = f32[2] all-reduce(%a), backend_config={"estimated_cycles":"3"}
  ROOT %d = f32[2] add(%b.remat, %c)
}
"""
NUMBERS = {
    "peak_bytes": 2**30,
    "argument_bytes": 1,
    "aliased_bytes": 1,
    "temporary_bytes": 1,
    "code_bytes": 1,
    "flops": 1.0,
    "accessed_bytes": 1.0,
    "compile_secs": 1.0,
    "peak_rss_bytes": 1,
}


def make_request(**changes):
    fields = {
        "recipe": make_recipe(make_stage(batch_size=16)),
        "stage": "finish",
        "num_examples": 100,
        "num_classes": 10,
        "num_replicas": 8,
    }
    return LoweringRequest(**(fields | changes))


def test_only_the_entry_computation_is_counted():
    program = parse_program(HLO, **NUMBERS)
    assert (program.cycles, program.num_all_reduces, program.num_recomputed) == (123, 1, 1)


def test_out_of_memory_tells_what_is_needed():
    message = "RESOURCE_EXHAUSTED: Ran out of memory. Used 40.05G of 15.75G hbm. Exceeded by 24.30G"
    found = OutOfMemory.from_message(message, 16.0)
    assert (found.needed_gib, found.usable_gib) == (40.05, 15.75)


def test_out_of_memory_in_other_units():
    found = OutOfMemory.from_message("Used 512.00M of 32.00M hbm", 16.0)
    assert (found.needed_gib, found.usable_gib) == (0.5, 0.03125)


def test_out_of_memory_in_other_words_keeps_the_message():
    found = OutOfMemory.from_message("RESOURCE_EXHAUSTED: no", 15.75)
    assert (found.needed_gib, found.usable_gib, found.message) == (
        None,
        15.75,
        "RESOURCE_EXHAUSTED: no",
    )


def test_requests_survive_json():
    request = make_request(replica_batch=4)
    assert LoweringRequest.from_json(request.to_json()) == request


def test_the_planned_batch_is_divided_over_the_replicas():
    assert make_request().plan().replica_batch == 2


def test_a_replica_batch_is_held_at_once():
    request = make_request(recipe=make_recipe(make_stage(batch_size=16), max_replica_batch=1))
    plan = request.with_replica_batch(6).plan()
    assert (plan.replica_batch, plan.num_micro_batches, plan.global_batch) == (6, 1, 48)


def test_another_program_topology_or_setting_is_another_key():
    v5e, v3 = TOPOLOGIES["v5e-8"], TOPOLOGIES["v3-8"]
    keys = {
        cache_key(b"a", v5e, []),
        cache_key(b"b", v5e, []),
        cache_key(b"a", v3, []),
        cache_key(b"a", v5e, ["--low_effort"]),
    }
    assert len(keys) == 4


def test_what_was_compiled_is_not_compiled_again(tmp_path):
    processes = CompilerProcesses(python="/nowhere/python", cache_dir=tmp_path)
    topology = load_topology("v5e-8")
    key = cache_key(b"module", topology, ["--topology=v5e-8"])
    (tmp_path / f"{key}.json").write_text(
        '{"kind": "OutOfMemory", "needed_gib": 20.0, "usable_gib": 15.75, "message": ""}'
    )
    found = processes.compile(b"module", topology, low_effort=False)
    assert found == OutOfMemory(needed_gib=20.0, usable_gib=15.75, message="")


def test_a_python_that_is_not_there_is_named(tmp_path):
    processes = CompilerProcesses(python="/nowhere/python", cache_dir=tmp_path)
    with pytest.raises(DeviceError, match="/nowhere/python"):
        processes.compile(b"module", load_topology("v5e-8"), low_effort=False)


def test_programs_survive_json():
    from dataclasses import asdict

    program = parse_program(HLO, **NUMBERS)
    assert result_from_json({"kind": "CompiledProgram", **asdict(program)}) == program


def test_an_unknown_topology_names_the_nearest():
    with pytest.raises(DeviceError, match="v5e-8"):
        load_topology("v5e8")
