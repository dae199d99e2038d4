"""The process that decodes photos of strangers; `trainer.serving.decoding` starts and ends it.

A small file can keep a decoder busy for hours (a progressive JPEG of many scans), ask for all
memory, or hit a defect in native code. In a process of its own that costs one photo.

Frames in both directions: lengths of a JSON head and of a body, then these. In: what the network
wants in the head, the photo in the body. Out: size and box in the head and pixels in the body, or
the reason in the head; and the seconds that it took.
"""

import json
import os
import resource
import signal
import struct
import sys
import time
import warnings
from typing import Any, BinaryIO

FRAME = struct.Struct(">II")


def main(max_pixels: int, decoder_mb: int) -> None:
    """Answers frames until there are no more.

    Args:
        max_pixels: that a photo may declare.
        decoder_mb: memory that one photo may take beyond that of the idle process, in MB.
    """
    inside, outside = sys.stdin.buffer, sys.stdout.buffer
    # Some supervisors tell every process of a service to stop; the photos inside come first. The
    # end of the input is the end of this process.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from trainer.exporting.preparation import load_formats

    load_formats()  # now, while nobody waits
    # Pillow and libtiff have much to say of damaged metadata: strangers would write our log with
    # it, and a log that nobody reads would stop us.
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stderr.fileno())
    limit = _memory_now() + decoder_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    while frame := _read(inside):
        started = time.monotonic()
        head, body = _decode(*frame, max_pixels)
        _write(outside, {**head, "seconds": time.monotonic() - started}, body)


def _decode(
    wanted: dict[str, Any], encoded: bytes, max_pixels: int
) -> tuple[dict[str, Any], bytes]:
    from trainer.exporting.contract import Geometry
    from trainer.exporting.preparation import PhotoError, PhotoTooLargeError, prepare_square

    geometry = Geometry(**wanted["geometry"])
    try:
        square = prepare_square(encoded, geometry, wanted["image_px"], max_pixels)
    except PhotoTooLargeError as error:
        return {"status": 413, "reason": str(error)}, b""
    except PhotoError as error:
        if isinstance(error.__cause__, MemoryError):
            return {"status": 413, "reason": "needs more memory to decode than is allowed"}, b""
        return {"status": 422, "reason": str(error)}, b""
    head = {"width": square.width, "height": square.height, "box": square.box}
    return head, square.image.tobytes()


def _memory_now() -> int:
    """Bytes that count for RLIMIT_DATA."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def _read(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    lengths = file.read(FRAME.size)
    if len(lengths) < FRAME.size:
        return None
    head_bytes, body_bytes = FRAME.unpack(lengths)
    head = json.loads(file.read(head_bytes))
    return head, file.read(body_bytes)


def _write(file: BinaryIO, head: dict[str, Any], body: bytes) -> None:
    encoded = json.dumps(head).encode()
    file.write(FRAME.pack(len(encoded), len(body)) + encoded)
    file.write(body)
    file.flush()
