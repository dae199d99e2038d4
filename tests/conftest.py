"""What every test shares: quiet TensorFlow, and the real photos where a machine has them."""

import os
import signal
from collections.abc import Iterator
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


CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A playwright browser without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}; install Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=str(CHROMIUM), args=[*CHROMIUM_FLAGS, "--disable-sync"]
        )
        yield opened
        opened.close()
