"""How fast does the service answer, and what does it take to start and to hold?

    python benchmarks/serve_throughput.py --model=A.tflite [--model=A.onnx] \\
        [--clients=1,8,32] [--seconds=8] [--rounds=3] [--photos=DIR]

Starts a service for each file, all with the same flags, and calls one after the other in
interleaved rounds, so that a .onnx file of the same network shows what onnxruntime would do in
LiteRT's place. Clients live in this process, keep their connections and call again at once. Prints
medians of the rounds: answers a second, p50 and p99 of the waiting time; once a file, the seconds
from its start to the first answer, and the memory at the end, with the decoders.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.serve_load import load_photos, memory_mb, start_service  # noqa: E402


async def one_round(
    url: str, photos: list[tuple[str, bytes]], num_clients: int, seconds: float
) -> list[float]:
    """Waiting times of all answers of a round."""
    waits: list[float] = []
    end = time.monotonic() + seconds

    async def one_client(number: int) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            while time.monotonic() < end:
                number += 1
                started = time.monotonic()
                response = await client.post(
                    "/v1/predict",
                    content=photos[number % len(photos)][1],
                    headers={"Content-Type": "image/jpeg"},
                )
                response.raise_for_status()
                waits.append(time.monotonic() - started)

    await asyncio.gather(*(one_client(7 * number) for number in range(num_clients)))
    return waits


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", help="folder of JPEGs")
    parser.add_argument("--flags", default="", help="more flags of the services, with blanks")
    options = parser.parse_args()
    photos = load_photos(options.photos)
    services = {}
    try:
        for model in options.model:
            started = time.monotonic()
            process, url, _ = start_service(model, "--queue=64", *options.flags.split())
            asyncio.run(one_round(url, photos, 1, 0.001))
            services[model] = (process, url, time.monotonic() - started)
        print(f"{'file':24} {'clients':>7} {'answers/s':>9} {'p50 ms':>7} {'p99 ms':>7}")
        for num_clients in map(int, options.clients.split(",")):
            waits: dict[str, list[list[float]]] = {model: [] for model in services}
            for _ in range(options.rounds):
                for model, (_, url, _) in services.items():
                    waits[model].append(
                        asyncio.run(one_round(url, photos, num_clients, options.seconds))
                    )
            for model, rounds in waits.items():
                rates = statistics.median(
                    num_clients * len(part) / sum(part) for part in rounds if part
                )
                cuts = [statistics.quantiles(part, n=100) for part in rounds if len(part) > 1]
                p50 = 1000 * statistics.median(cut[49] for cut in cuts)
                p99 = 1000 * statistics.median(cut[98] for cut in cuts)
                name = os.path.basename(model)
                print(f"{name:24} {num_clients:7} {rates:9.1f} {p50:7.0f} {p99:7.0f}", flush=True)
        for model, (process, _, seconds) in services.items():
            name = os.path.basename(model)
            print(f"{name}: first answer after {seconds:.2f} s, {memory_mb(process.pid):.0f} MB")
    finally:
        for process, _, _ in services.values():
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
