"""What a compiled program says about itself, read from its text; no compiler needed."""

import re
from dataclasses import dataclass
from typing import Any

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_ALL_REDUCE = re.compile(r" all-reduce(?:-start)?\(")
_RECOMPUTED = re.compile(r"^\s+(?:ROOT )?%[\w.\-]*\.remat[\w.\-]* = ", re.MULTILINE)
_NEEDED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")
_GIB_OF = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10}


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledProgram:
    """A step that compiled, for one replica."""

    peak_bytes: int
    """Highest memory on the device: arguments, results and temporaries."""
    argument_bytes: int
    """Variables and the batch."""
    aliased_bytes: int
    """Of the arguments, what the results overwrite instead of standing beside it."""
    temporary_bytes: int
    code_bytes: int
    flops: float
    """Of the compiled program, what it computes a second time included."""
    accessed_bytes: float
    """Moved to and from the device's memory."""
    cycles: int
    """The compiler's estimates for every fusion, added up."""
    num_all_reduces: int
    num_recomputed: int
    """Instructions that are computed a second time, to keep memory low."""
    compile_secs: float
    """Processor time of the compilation."""
    peak_rss_bytes: int
    """What the compiling process took at most."""

    @property
    def peak_gib(self) -> float:
        """`peak_bytes` in 2^30 bytes."""
        return self.peak_bytes / 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfMemory:
    """A step that the compiler refused."""

    needed_gib: float | None
    """What it would take; None if the compiler did not say."""
    usable_gib: float
    message: str

    @classmethod
    def from_message(cls, message: str, usable_gib: float) -> "OutOfMemory":
        """Reads `Used 40.05G of 15.75G hbm` out of the compiler's error."""
        needed = _NEEDED.search(message)
        if needed is None:
            return cls(needed_gib=None, usable_gib=usable_gib, message=message[:2000])
        return cls(
            needed_gib=float(needed[1]) * _GIB_OF[needed[2]],
            usable_gib=float(needed[3]) * _GIB_OF[needed[4]],
            message=message[:2000],
        )


def parse_program(hlo: str, **numbers: Any) -> CompiledProgram:
    """Adds what the text of the optimised program says to the numbers of the compiler.

    Args:
        hlo: the optimised module as text, with the backend's configuration of each instruction.
        **numbers: the other fields of `CompiledProgram`.
    """
    entry = hlo[max(0, hlo.find("\nENTRY")) :]
    return CompiledProgram(
        cycles=sum(map(int, _CYCLES.findall(entry))),
        num_all_reduces=len(_ALL_REDUCE.findall(entry)),
        num_recomputed=len(_RECOMPUTED.findall(entry)),
        **numbers,
    )
