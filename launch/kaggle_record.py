"""What was pushed for a run: `kaggle/launch.json` in the run's folder."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from tfrecords_builder.errors import UserError
from trainer.submission.file import write_atomically

FOLDER = "kaggle"
"""Of the run's folder; holds what belongs to the launch and not to the run."""
_FILE = "launch.json"

SESSION_LIMIT_SECS = {"tpu": 9 * 3600, "gpu": 12 * 3600, "cpu": 12 * 3600}
"""How long Kaggle lets a session run."""
DEADLINES = {"tpu": "8h30m", "gpu": "11h30m", "cpu": "11h30m"}
MACHINES = {"tpu": "TpuV5E8", "gpu": "NvidiaTeslaT4", "cpu": None}
"""Kaggle's name of the machine of each accelerator; the T4 come in pairs."""


class LaunchError(UserError):
    """A launch that cannot be made, or a folder that holds none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A run on Kaggle: its settings and how far it has got."""

    kernel: str
    """OWNER/NAME."""
    accelerator: str
    recipe: str
    deadline: str
    trainer_flags: tuple[str, ...]
    build_flags: tuple[str, ...]
    competitions: tuple[str, ...]
    datasets: tuple[str, ...]
    """OWNER/NAME of the attached data, without the state."""
    data_dir: str | None
    """Local folder whose records were uploaded as the first of `datasets`."""
    session: int
    """Number of the last session pushed, from 1."""
    start: int
    launch_id: str
    """What the kernel holds: the session pushed last, or the one that the next push replaces."""
    version: int
    """Kaggle's number of the kernel's version; 0 for a session that is prepared only."""
    fetched_session: int
    """Number of the last session whose outputs are in the run's folder; 0 for none."""

    @property
    def name(self) -> str:
        """The kernel's name without its owner."""
        return self.kernel.partition("/")[2]

    @property
    def state_dataset(self) -> str:
        """The data set that carries checkpoints from a session to the next."""
        return f"{self.kernel}-state"


def check_name(name: str) -> str:
    """Returns a name that Kaggle takes for kernels and, with an ending, for data sets.

    Raises:
      LaunchError: It is none.
    """
    # A data set's name has 6 to 50 characters, and "-state" is added.
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or not 5 <= len(name) <= 44:
        raise LaunchError(
            f"--name={name} cannot be a kernel's name; 5 to 44 small letters, digits and single "
            "hyphens between them are needed; give another --name"
        )
    return name


def default_name(run_dir: Path) -> str:
    """A name made of the run's folder: small letters, digits, hyphens."""
    words = re.findall(r"[a-z0-9]+", run_dir.resolve().name.lower())
    return "-".join(["train", *words])[:44].rstrip("-")


def has_launch(run_dir: Path) -> bool:
    """Whether something was pushed from the folder."""
    return (run_dir / FOLDER / _FILE).exists()


def load_launch(run_dir: Path) -> Launch:
    """The launch of the run in the folder.

    Raises:
      LaunchError: None was pushed from it, or its record is damaged.
    """
    path = run_dir / FOLDER / _FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        lists = ("trainer_flags", "build_flags", "competitions", "datasets")
        return Launch(**{**fields, **{name: tuple(fields[name]) for name in lists}})
    except FileNotFoundError:
        raise LaunchError(
            f"nothing was pushed from {run_dir} (no {FOLDER}/{_FILE}); the --run_dir of a push is "
            "needed; push first: python -m launch.kaggle push --help"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise LaunchError(
            f"{path} is not the record of a push; one that `push` wrote is needed; push the same "
            "settings from an empty --run_dir with the same --name, which starts no second session"
        ) from None


def save_launch(run_dir: Path, launch: Launch) -> None:
    """Writes the record, whole or not at all."""
    path = run_dir / FOLDER / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(launch), indent=1) + "\n")
