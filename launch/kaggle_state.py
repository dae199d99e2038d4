"""The run's folder as a data set's files: what the next session goes on from."""

import hashlib
import json
from pathlib import Path

from launch.kaggle_contract import STATE_FILE, sha256_of
from launch.kaggle_record import FOLDER, LaunchError


def pack_state(run_dir: Path, folder: Path, session: int) -> str:
    """Links the run's files into the flat folder and lists them; returns the list's SHA-256.

    Flat, because Kaggle takes folders only as archives, which it then unpacks in its own way.
    """
    files: dict[str, dict[str, str]] = {}
    for path in sorted(path for path in run_dir.rglob("*") if path.is_file()):
        name = path.relative_to(run_dir).as_posix()
        # Kaggle takes no empty files; what starts with a dot is a download that was cut off.
        if name.startswith(f"{FOLDER}/") or path.name.startswith(".") or not path.stat().st_size:
            continue
        stored = f"{len(files):04d}-{path.name}"
        # The client names the size it finds: that of a link's target.
        (folder / stored).symlink_to(path.resolve())
        files[stored] = {"path": name, "sha256": sha256_of(path)}
    if not files:
        raise LaunchError(
            f"{run_dir} holds no files of a run; what the last session left is needed; fetch it: "
            f"python -m launch.kaggle fetch --run_dir={run_dir}"
        )
    text = json.dumps({"session": session, "files": files}, indent=1) + "\n"
    (folder / STATE_FILE).write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()
