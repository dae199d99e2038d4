"""Looks for what would stop a session on Kaggle, before it costs quota.

python -m launch.kaggle doctor --accelerator=tpu --competition=sf-dl-car-classification

Exit codes: 0 nothing found; 2 something has to be done, it says what.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, print_line
from launch.kaggle_contract import KernelSettings
from launch.kaggle_errors import explain
from launch.kaggle_package import MAX_SCRIPT_BYTES, make_script, requirements
from launch.kaggle_record import DEADLINES, MACHINES, load_launch
from launch.kaggle_session import GRACE_SECS
from tfrecords_builder.errors import UserError
from trainer.engine.stop import parse_duration
from trainer.submission.connection import Connection

MAX_CLOCK_SKEW_SECS = 300.0
"""Signed addresses are refused beyond about this."""
SETTINGS_PAGE = "https://www.kaggle.com/settings"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    found: str
    remedy: str = ""
    """What to do; empty if nothing has to be done."""


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_enum("accelerator", "gpu", tuple(MACHINES), "The one that is to be used.")
    flags.DEFINE_string("competition", None, "The competition whose data are to be used.")
    flags.DEFINE_string("deadline", None, "How long a session is to train; as in push.")
    flags.DEFINE_string("run_dir", None, "Folder of a run that was pushed; looks at its kernel.")


def main() -> None:
    """Prints every finding; exits with 2 if there is something to do."""
    values = flags.FLAGS
    subject = values.competition or "the kernel"
    kernels = Kernels(Connection(subject, report=print_line, explain=explain))
    findings = diagnose(
        kernels,
        accelerator=values.accelerator,
        competition=values.competition,
        deadline=values.deadline or DEADLINES[values.accelerator],
        run_dir=Path(values.run_dir) if values.run_dir else None,
    )
    num_bad = 0
    for finding in findings:
        kernels.connection.report(
            f"{'TO DO' if finding.remedy else 'ok':<6} {finding.check:<12} {finding.found}"
        )
        if finding.remedy:
            num_bad += 1
            kernels.connection.report(f"{'':<19} -> {finding.remedy}")
    if num_bad:
        sys.exit(2)


def diagnose(
    kernels: Kernels,
    *,
    accelerator: str,
    competition: str | None,
    deadline: str,
    run_dir: Path | None,
) -> Iterator[Finding]:
    """Yields one finding a check; those that need credentials are left out without them."""
    yield _guarded("package", lambda: _package(accelerator))
    signed_in = _guarded("credentials", lambda: _credentials(kernels))
    yield signed_in
    if signed_in.remedy:
        return
    quota = _guarded("quota", lambda: _quota(kernels, accelerator, deadline))
    yield quota
    yield _clock(kernels)
    if competition is not None:
        yield _guarded("rules", lambda: _rules(kernels, competition))
    yield _guarded("internet", lambda: _internet(kernels, run_dir))


def _guarded(check: str, function: Callable[[], Finding]) -> Finding:
    """The finding, or the error as one: its last part says what to do."""
    try:
        return function()
    except UserError as error:
        found, _, remedy = str(error).rpartition("; ")
        return Finding(check=check, found=found or str(error), remedy=remedy or str(error))


def _package(accelerator: str) -> Finding:
    settings = KernelSettings(
        name="doctor",
        session=1,
        start=1,
        accelerator=accelerator,
        data=(),
        recipe="demo",
        deadline=DEADLINES[accelerator],
        trainer_flags=(),
        build_flags=(),
        requirements=requirements(accelerator),
        state_sha256=None,
    )
    size = len(make_script(settings).encode())
    found = f"{size / 1e3:.0f} kB of at most {MAX_SCRIPT_BYTES / 1e3:.0f} kB"
    return Finding(check="package", found=found)


def _credentials(kernels: Kernels) -> Finding:
    return Finding(check="credentials", found=f"signed in as {kernels.owner()}")


def _quota(kernels: Kernels, accelerator: str, deadline: str) -> Finding:
    quotas, refresh = kernels.quota()
    if accelerator == "cpu":
        return Finding(check="quota", found="CPU sessions have none")
    quota = quotas.get(accelerator)
    if quota is None:
        return Finding(check="quota", found=f"Kaggle tells none for {accelerator}")
    left = max(0.0, quota.allowed_hours - quota.used_hours)
    wanted = (parse_duration(deadline) + GRACE_SECS) / 3600
    when = f", new hours at {refresh:%Y-%m-%d %H:%M} UTC" if refresh else ""
    found = f"{left:.1f} of {quota.allowed_hours:.0f} h left for {accelerator} this week{when}"
    if left >= wanted:
        return Finding(check="quota", found=found)
    minutes = int(left * 60 - GRACE_SECS / 60)
    remedy = f"a session of {deadline} does not fit: wait, or push with --deadline={minutes}m"
    if minutes < 15:
        remedy = "wait for new hours, or use another --accelerator"
    return Finding(check="quota", found=found, remedy=remedy)


def _clock(kernels: Kernels) -> Finding:
    skew = kernels.connection.clock_skew_secs
    if skew is None:
        return Finding(check="clock", found="Kaggle sent no time to compare with")
    direction = "ahead of" if skew > 0 else "behind"
    found = f"{abs(skew):.0f} s {direction} Kaggle's"
    if abs(skew) <= MAX_CLOCK_SKEW_SECS:
        return Finding(check="clock", found=found)
    return Finding(
        check="clock", found=found, remedy="set this machine's clock: uploads are refused otherwise"
    )


def _rules(kernels: Kernels, competition: str) -> Finding:
    # Kaggle shows the files only to those who have accepted the rules.
    try:
        kernels.connection.call(lambda api: api.competition_list_files(competition))
    except UserError as error:
        found = str(error).partition(";")[0]
        page = f"https://www.kaggle.com/competitions/{competition}"
        remedy = f"open {page}/rules with this account and accept them"
        if "404" in found:
            remedy = f"compare --competition={competition} with the last part of its address"
        return Finding(check="rules", found=found, remedy=remedy)
    return Finding(check="rules", found=f"the data of {competition} can be attached")


def _internet(kernels: Kernels, run_dir: Path | None) -> Finding:
    if run_dir is None:
        found = "Kaggle tells it only of a kernel: look again with --run_dir after a push"
        return Finding(check="internet", found=found)
    launch = load_launch(run_dir)
    there = kernels.state(launch.kernel)
    if there is None:
        return Finding(
            check="internet",
            found=f"there is no kernel {launch.kernel}",
            remedy="push it again",
        )
    if there.internet:
        return Finding(check="internet", found=f"on for {launch.kernel}")
    return Finding(
        check="internet",
        found=f"off for {launch.kernel}, and pip needs it",
        remedy=f"verify the account's phone number at {SETTINGS_PAGE} and push with --again",
    )
