"""Services in processes of their own, and photos of one colour to send to them."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from PIL import Image

from trainer.exporting.contract import Contract, Geometry

REPOSITORY = Path(__file__).resolve().parents[3]
CLASSES = ("red", "green", "blue")
IMAGE_PX = 8
PAINT = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


def make_contract(**changes: object) -> Contract:
    """Of the colour model."""
    fields: dict[str, object] = {
        "classes": CLASSES,
        "image_px": IMAGE_PX,
        "geometry": Geometry(resize="center_crop", center_fraction=1.0, pad_value=0, canvas_px=16),
        "temperature": 1.0,
        "views": (),
        "weights_sha256": "0" * 64,
        "run_id": "colours",
        "recipe": "none",
        "backbone": "Tiny",
        "format": "litert",
        "quantization": "none",
    }
    return Contract(**{**fields, **changes})  # type: ignore[arg-type]


def make_photo(colour: str = "red", size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An encoded photo of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, PAINT[colour]).save(file, kind)
    return file.getvalue()


def many_scans(num_scans: int) -> bytes:
    """A progressive JPEG that says next to nothing, very often: each scan costs a whole pass."""
    file = io.BytesIO()
    Image.new("L", (2000, 1999)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    # The last scan is a refinement, which may come again and again.
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * num_scans + data[-2:]


@dataclass
class RunningService:
    """A process that answers at `url`."""

    process: subprocess.Popen[str]
    url: str
    client: httpx.Client
    """One for all requests: making the context of TLS takes longer than an answer."""

    @property
    def memory_mb(self) -> float:
        """Of all its processes."""
        parent = psutil.Process(self.process.pid)
        family = [parent, *parent.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family) / 1e6

    def post(self, body: bytes, kind: str = "image/png", query: str = "") -> httpx.Response:
        """One photo as the body."""
        return self.client.post(
            f"{self.url}/v1/predict{query}", content=body, headers={"Content-Type": kind}
        )

    def metric(self, name: str) -> float:
        """The value of one sample."""
        for line in self.client.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return 0.0


@contextlib.contextmanager
def running_service(model: Path, *flags: str) -> Iterator[RunningService]:
    """Starts a service and kills it at the end, if it is still there."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0"),
            *("--threads=1", "--decoders=1", *flags),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        lines = iter(process.stdout.readline, "")
        url = next((line.split()[-1] for line in lines if line.startswith("serving on")), None)
        assert url, process.stderr.read()
        # Connections of their own, as strangers have them.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(timeout=60, limits=limits) as client:
            yield RunningService(process, url, client)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
