"""What every test shares: quiet TensorFlow, and the real photos where a machine has them."""

import os
import signal
from pathlib import Path

import pytest

# Before the first import of TensorFlow, which reads both at start: no C++ log lines between test
# results, and no accelerator, so that a test gives the same result on every machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Started in the background, a shell hands down an ignored Ctrl-C, and so would we to commands that
# are tested for it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def material() -> Path:
    """Folder of real photos and weights, kept outside of the project; skips where it is missing."""
    folder = Path(os.environ.get("CARS_MATERIAL", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}; CARS_MATERIAL=DIR names another folder")
    return folder
