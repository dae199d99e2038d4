"""What a push asks for, checked before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.kaggle_contract import WEIGHTS_SUFFIX
from launch.kaggle_record import (
    DEADLINES,
    FOLDER,
    SESSION_LIMIT_SECS,
    LaunchError,
    check_name,
    has_launch,
)
from tfrecords_builder.manifest import load_manifest
from trainer.engine.stop import parse_duration
from trainer.recipes import load_recipe

_OWN_FLAGS = ("data", "run_dir", "recipe", "strategy", "deadline")
_SUBMIT_FLAGS = ("auto_submit", "competition", "sample_submission")


@dataclass(frozen=True, kw_only=True, slots=True)
class PushRequest:
    """What a push asks for; see the flags."""

    run_dir: Path
    name: str
    recipe: str
    accelerator: str
    deadline: str
    trainer_flags: tuple[str, ...] = ()
    build_flags: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_run_dir(self.run_dir)
        load_recipe(self.recipe)
        if not (self.competitions or self.datasets or self.data_dir):
            raise LaunchError(
                "nothing to train on was given; data that Kaggle can attach are needed; add "
                "--competition=NAME, --dataset=OWNER/NAME or --data=DIR"
            )
        for dataset in self.datasets:
            if len(dataset.split("/")) != 2 or not all(dataset.split("/")):
                raise LaunchError(
                    f"--dataset={dataset} names no data set; OWNER/NAME is needed; take the last "
                    "two parts of its address"
                )
        if self.data_dir is not None:
            load_manifest(str(self.data_dir))
        limit = SESSION_LIMIT_SECS[self.accelerator]
        if not 0 < parse_duration(self.deadline) < limit:
            raise LaunchError(
                f"--deadline={self.deadline} is not within a session; Kaggle ends one on "
                f"{self.accelerator} after {limit // 3600} h; give less, "
                f"{DEADLINES[self.accelerator]} for example"
            )
        _check_trainer_flags(self.trainer_flags)


def _check_run_dir(run_dir: Path) -> None:
    """What is in the folder of a first push would be mixed with what the sessions leave."""
    if has_launch(run_dir):
        return
    found = [path for path in (run_dir / "run.json",) if path.exists()]
    weights = run_dir.rglob(f"*{WEIGHTS_SUFFIX}")
    found += [path for path in weights if path.relative_to(run_dir).parts[0] != FOLDER]
    if found:
        raise LaunchError(
            f"{run_dir} holds a run ({found[0].relative_to(run_dir)}) that was not pushed from it; "
            "an empty folder is needed, for what the sessions leave; give another --run_dir; to "
            "start from that run's weights, attach its model.safetensors as a data set and give "
            "its path over there: -- --weights=PATH"
        )


def _check_trainer_flags(given: Sequence[str]) -> None:
    for flag in given:
        name = flag.lstrip("-").partition("=")[0].removeprefix("no")
        if not flag.startswith("--"):
            raise LaunchError(
                f"{flag!r} behind `--` is not a flag; flags of trainer.task as --flag=value are "
                "needed there"
            )
        if name in _OWN_FLAGS:
            raise LaunchError(
                f"--{name} behind `--` is set by push itself; flags of trainer.task that push does "
                "not know are needed there; give it before `--`"
            )
        if name in _SUBMIT_FLAGS:
            raise LaunchError(
                f"--{name} needs your credentials on the machine that trains; they stay here; "
                "fetch the run and use trainer.predict and trainer.submit"
            )
