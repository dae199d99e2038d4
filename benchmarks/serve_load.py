"""Does the service lose a request that it accepted, when more clients call than it can serve?

    python benchmarks/serve_load.py --model=FILE [--clients=64] [--minutes=10] [--photos=DIR]

Starts the service, calls it from so many clients at once, and counts. Who is told 429 waits as
long as he is told, with a random half more, and calls again. Lost is every request that was not
refused and not answered: a broken connection, a 5xx, an answer that is not of the photo. One
request in fifty is given up by its client, which must not cost the others theirs. At half
time every number is printed; at the end SIGTERM comes in the middle of the load.
"""

import argparse
import asyncio
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass
class Tally:
    """What came of all requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopping: bool = False


def start_service(model: str, *flags: str) -> tuple[subprocess.Popen[str], str, float]:
    """The process, its address, and the seconds until it told it."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("serving on "):
            return process, line.split()[-1], time.monotonic() - started
    raise SystemExit(f"the service did not start, exit code {process.wait()}")


def load_photos(folder: str | None) -> list[tuple[str, bytes]]:
    """Some JPEGs; noise of the size of a photo from the web where there is no folder."""
    if folder:
        paths = sorted(Path(folder).rglob("*.jpg"))[:50]
        return [(path.name, path.read_bytes()) for path in paths]
    import io

    photos = []
    for seed in range(8):
        small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((800, 600)).save(file, "JPEG", quality=90)
        photos.append((f"{seed}.jpg", file.getvalue()))
    return photos


def memory_mb(process_id: int) -> float:
    """Of a process and its children; what they share counts once."""
    parent = psutil.Process(process_id)
    family = [parent, *parent.children(recursive=True)]
    return sum(member.memory_full_info().pss for member in family) / 1e6


async def one_client(url: str, photos: list[tuple[str, bytes]], end: float, tally: Tally) -> None:
    """Calls until the end, or until the service says good-bye."""
    rng = random.Random()
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        while time.monotonic() < end and not tally.stopping:
            name, encoded = rng.choice(photos)
            started = time.monotonic()
            patience = 0.1 if rng.random() < 0.02 else None
            try:
                async with asyncio.timeout(patience):
                    response = await client.post("/v1/predict", files={"photo": (name, encoded)})
            except TimeoutError:
                tally.statuses["left"] += 1
                continue
            except httpx.TransportError as error:
                # Not accepted any more, or between two requests of a connection that was closed.
                if tally.stopping:
                    return
                tally.lost.append(f"{type(error).__name__}: {error}")
                continue
            tally.statuses[str(response.status_code)] += 1
            if response.status_code == 429:
                await asyncio.sleep(int(response.headers["Retry-After"]) * (1 + rng.random() / 2))
            elif response.status_code == 200 and response.json()["photos"][0]["name"] == name:
                tally.seconds.append(time.monotonic() - started)
            else:
                tally.lost.append(f"{response.status_code}: {response.text[:200]}")


def report(tally: Tally, minutes: float, memory: list[float]) -> None:
    """Prints everything so far."""
    counts = ", ".join(f"{number} x {status}" for status, number in sorted(tally.statuses.items()))
    print(f"{minutes:5.1f} min: {counts}; lost {len(tally.lost)}", end="")
    if len(tally.seconds) > 1:
        hundredths = statistics.quantiles(tally.seconds, n=100)
        print(f"; p50 {hundredths[49]:.2f} s, p99 {hundredths[98]:.2f} s", end="")
    print(f"; memory {memory[0]:.0f} -> {memory[-1]:.0f} MB", flush=True)


async def load(process_id: int, url: str, options: argparse.Namespace, tally: Tally) -> None:
    """All clients, a look at the memory now and then, and the signal in the middle of the load."""
    photos = load_photos(options.photos)
    began = time.monotonic()
    seconds = options.minutes * 60
    memory = []
    async with asyncio.TaskGroup() as group:
        for _ in range(options.clients):
            group.create_task(one_client(url, photos, began + seconds + 60, tally))
        for part in range(1, 11):
            await asyncio.sleep(began + seconds * part / 10 - time.monotonic())
            memory.append(memory_mb(process_id))
            if part in (5, 10):
                report(tally, (time.monotonic() - began) / 60, memory)
        tally.stopping = True
        psutil.Process(process_id).send_signal(signal.SIGTERM)


def main() -> int:
    """Exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--photos", help="folder of JPEGs")
    parser.add_argument("--flags", default="", help="more flags of the service, with blanks")
    options = parser.parse_args()
    process, url, _ = start_service(options.model, *options.flags.split())
    tally = Tally()
    try:
        asyncio.run(load(process.pid, url, options, tally))
        code = process.wait(60)
    finally:
        process.kill()
    for line in tally.lost[:20]:
        print("lost:", line)
    print(
        f"lost {len(tally.lost)} of {sum(tally.statuses.values())}; the service ended with {code}"
    )
    return int(bool(tally.lost) or code != 0)


if __name__ == "__main__":
    sys.exit(main())
