"""What a check found."""

from collections.abc import Callable
from dataclasses import dataclass

OK, WARNING, FAILURE, SKIPPED = "OK", "warn", "FAIL", "skip"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor's table."""

    status: str
    """OK | warn | FAIL | skip"""
    found: str
    remedy: str = ""
    """What to do; empty where nothing is to be done."""


def examine(check: Callable[[], Finding]) -> Finding:
    """The check's finding; a check that breaks becomes a finding itself.

    A doctor that stops at the first thing it did not expect is of no use on a broken machine, so
    here, and only here, every exception is caught.
    """
    try:
        return check()
    except Exception as error:
        return Finding(
            status=WARNING,
            found=f"could not be checked ({type(error).__name__}: {error})"[:300],
            remedy="look at it by hand",
        )
