"""Compiles StableHLO with the real TPU compiler, on a machine that has no TPU.

    python -m trainer.lowering.tpu_compiler --module=STEP.mlir --topology=v5e-8 --out=RESULT.json

A process of its own, beside none with TensorFlow in it: a large step takes 4 to 9 GB. The calls
are private to jaxlib and belong to exactly the versions of the extra `aot`.
"""

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords_builder import command_line
from trainer.errors import DeviceError
from trainer.lowering.program_report import CompiledProgram, OutOfMemory, parse_program
from trainer.lowering.topologies import Topology, load_topology

FLAGS = flags.FLAGS
_LOW_EFFORT = -1.0

# Read when libtpu loads: it must not look for a TPU, a metadata server or a second process.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def compile_for(
    module: bytes,
    topology: Topology,
    *,
    low_effort: bool,
    options: dict[str, str] | None = None,
    on_hlo: Callable[[str], object] = lambda text: None,
) -> CompiledProgram | OutOfMemory:
    """Compiles a step that every replica of the topology runs.

    Args:
        module: StableHLO, as `trainer.lowering.lower` writes it.
        topology: what to compile for.
        low_effort: a third of the time; the peak of the memory stays true within a few percent,
            the cycles do not.
        options: of the compiler, for example {"xla_tpu_max_hbm_size_mib": "32"}.
        on_hlo: gets the optimised program as text.

    Raises:
        DeviceError: jax or libtpu of the extra `aot` are not there.
    """
    os.environ.update({name: os.environ.get(name, _ENVIRONMENT[name]) for name in _ENVIRONMENT})
    try:
        import numpy as np
        from jax._src.interpreters.mlir import make_ir_context
        from jax.experimental import topologies
        from jaxlib import xla_client
        from jaxlib.mlir import ir
    except ModuleNotFoundError as error:
        raise DeviceError(_not_installed(error)) from None
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=topology.libtpu_name, **topology.options
    )
    devices = tuple(described.devices)
    if len(devices) != topology.num_replicas:
        raise RuntimeError(f"{topology.name} has {len(devices)} devices")
    compile_options = xla_client.CompileOptions()
    compile_options.num_replicas = topology.num_replicas
    compile_options.num_partitions = 1
    compile_options.device_assignment = xla_client.DeviceAssignment.create(
        np.array([[device.id] for device in devices])
    )
    if low_effort:
        compile_options.executable_build_options.exec_time_optimization_effort = _LOW_EFFORT
    compile_options.env_option_overrides = list((options or {}).items())
    started = time.process_time()
    with make_ir_context() as context, ir.Location.unknown(context):
        parsed = ir.Module.parse(module)
        _remove_copies(parsed.operation)
        try:
            executable = devices[0].client.compile(
                parsed,
                executable_devices=xla_client.DeviceList(devices),
                compile_options=compile_options,
            )
        except Exception as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return OutOfMemory.from_message(str(error), topology.hbm_gib)
    memory = executable.get_compiled_memory_stats()
    hlo = executable.hlo_modules()[0].to_string()
    on_hlo(hlo)
    costs = executable.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    return parse_program(
        hlo,
        peak_bytes=memory.peak_memory_in_bytes,
        argument_bytes=memory.argument_size_in_bytes,
        aliased_bytes=memory.alias_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=costs.get("flops", 0.0),
        accessed_bytes=costs.get("bytes accessed", 0.0),
        compile_secs=time.process_time() - started,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def portable(module: bytes) -> bytes:
    """The program as a portable StableHLO artifact, which later releases and others can read.

    The serialised form keeps its promise of compatibility for five years:
    https://github.com/openxla/stablehlo/blob/main/docs/compatibility.md.
    """
    os.environ.update({name: os.environ.get(name, _ENVIRONMENT[name]) for name in _ENVIRONMENT})
    try:
        from jax._src.interpreters.mlir import make_ir_context
        from jaxlib.mlir import ir
        from jaxlib.mlir.dialects import stablehlo
    except ModuleNotFoundError as error:
        raise DeviceError(_not_installed(error)) from None
    with make_ir_context() as context, ir.Location.unknown(context):
        parsed = ir.Module.parse(module)
        _remove_copies(parsed.operation)
        version = stablehlo.get_minimum_version()
        try:
            artifact: bytes = stablehlo.serialize_portable_artifact(parsed, version)
        except Exception:
            # An operation younger than the oldest version that is still read.
            artifact = stablehlo.serialize_portable_artifact(
                parsed, stablehlo.get_current_version()
            )
    return artifact


def _not_installed(error: ModuleNotFoundError) -> str:
    return (
        f"the TPU compiler is not installed (no module {error.name}); need the extra aot in an "
        "environment of its own; make one with pip install -r requirements/aot.lock and name its "
        "Python with --aot_python"
    )


def _remove_copies(operation: Any) -> None:
    """TensorFlow writes `mhlo.copy`, which the compiler's door refuses and which does nothing."""
    for region in operation.regions:
        for block in region.blocks:
            for wrapped in list(block.operations):
                inner = wrapped.operation
                _remove_copies(inner)
                if inner.name == "mhlo.copy":
                    inner.results[0].replace_all_uses_with(inner.operands[0])
                    inner.erase()


def main() -> None:
    """Compiles the module and writes what came out as JSON."""
    if FLAGS.memory_gib:
        limit = round(FLAGS.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with open(FLAGS.module, "rb") as file:
        module = file.read()
    if FLAGS.portable:
        with open(FLAGS.out, "wb") as artifact:
            artifact.write(portable(module))
        return
    options = dict(option.split("=", 1) for option in FLAGS.option)
    result = compile_for(
        module,
        load_topology(FLAGS.topology),
        low_effort=FLAGS.low_effort,
        options=options,
        on_hlo=Path(FLAGS.hlo).write_text if FLAGS.hlo else lambda text: None,
    )
    with open(FLAGS.out, "w") as file:
        json.dump({"kind": type(result).__name__, **asdict(result)}, file)


if __name__ == "__main__":
    flags.DEFINE_string("module", None, "File with StableHLO.", required=True)
    flags.DEFINE_string("topology", None, "What to compile for: v5e-8, ...", required=True)
    flags.DEFINE_string("out", None, "JSON file for the result.", required=True)
    flags.DEFINE_string("hlo", None, "File for the optimised program as text.")
    flags.DEFINE_bool("portable", False, "Do not compile: write portable StableHLO.")
    flags.DEFINE_bool("low_effort", False, "A third of the time, without true cycles.")
    flags.DEFINE_float("memory_gib", None, "Address space that the process may take.")
    flags.DEFINE_multi_string("option", [], "Option of the compiler, NAME=VALUE.")
    command_line.run(main)
