"""Does the builder's memory stay flat as the number of photos grows?

    python benchmarks/builder_memory.py [--copies=1,10] [--workers=2]

Prints the peak of the private memory of the main process and of its largest worker, while it
builds the photos of CARS_MATERIAL (or rendered ones), linked the given numbers of times.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.builder_speed import prepare_photos  # noqa: E402


def private_bytes(process: psutil.Process) -> int:
    """Returns the memory that only this process has; 0 when it is gone."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def measure(photos: Path, out: Path, num_workers: int) -> tuple[int, int]:
    """Returns the peaks of the main process and of the largest worker, in bytes."""
    command = [
        *(sys.executable, "-m", "tfrecords_builder", "--source=folder", f"--images={photos}"),
        *(f"--out={out}", f"--workers={num_workers}"),
    ]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    main = psutil.Process(process.pid)
    peak_main = peak_worker = 0
    while process.poll() is None:
        peak_main = max(peak_main, private_bytes(main))
        for child in main.children(recursive=True):
            peak_worker = max(peak_worker, private_bytes(child))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the build failed with exit code {process.returncode}")
    return peak_main, peak_worker


def main() -> None:
    """Measures every number of copies and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--copies", default="1,10")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{'photos':>8}{'main, MB':>12}{'worker, MB':>12}")
    for copies in map(int, options.copies.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            num_photos = prepare_photos(work, copies)
            peaks = measure(work / "photos", work / "out", options.workers)
            print(f"{num_photos:8}{peaks[0] / 1e6:12.1f}{peaks[1] / 1e6:12.1f}", flush=True)


if __name__ == "__main__":
    main()
