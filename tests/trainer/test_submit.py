"""The command, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.kaggle_server import SIGNATURE, TOKEN, Fault, KaggleServer, require_client
from trainer.submission.file import write_submission

REPOSITORY = Path(__file__).resolve().parents[2]
SOLUTION = {f"{number}.jpg": str(number % 2) for number in range(4)}


def _submit(folder: Path, url: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command with the client redirected before anything of it is imported."""
    (folder / "sitecustomize.py").write_text(
        "from kagglesdk import kaggle_env as env\n"
        f"env._env_to_endpoint[env.KaggleEnv.PROD] = {url!r}\n"
    )
    path = folder / "submission.csv"
    write_submission(path, list(SOLUTION), list("0100"), id_column="Id", label_column="Category")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("KAGGLE_")},
        "HOME": str(folder),
        "KAGGLE_API_TOKEN": TOKEN,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)]),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    command = [sys.executable, "-m", "trainer.submit", "--competition=cars", f"--file={path}"]
    return subprocess.run(
        [*command, *flags],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_prints_the_score(tmp_path: Path) -> None:
    require_client()
    with KaggleServer() as server:
        server.competitions["cars"].solution = SOLUTION
        done = _submit(tmp_path, server.url, "--message=first")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == "submission 40000000: public score 0.75000, private score not shown"
    assert (tmp_path / "state/staged-trainer/submissions.jsonl").is_file()


def test_failure_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    require_client()
    with KaggleServer() as server:
        fault = Fault(status=403, message=f"no {TOKEN} https://x/y?signature={SIGNATURE}")
        server.fail("StartSubmissionUpload", fault)
        done = _submit(tmp_path, server.url)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Kaggle answered 403 (no *** https://x/y?***)")
    assert len(done.stderr.splitlines()) == 1
    assert not [secret for secret in (TOKEN, SIGNATURE) if secret in done.stdout + done.stderr]


def test_guard_needs_neither_network_nor_tensorflow(tmp_path: Path) -> None:
    sample = tmp_path / "sample.csv"
    write_submission(sample, ["x.jpg"], ["0"], id_column="Id", label_column="Category")
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('imported')")
    done = _submit(tmp_path, "http://127.0.0.1:9", f"--sample_submission={sample}")
    assert done.returncode == 2
    assert "lacks 1 ids of the sample ('x.jpg')" in done.stderr
