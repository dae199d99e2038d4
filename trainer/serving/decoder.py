"""The process that decodes photos of strangers; `trainer.serving.decoding` starts and ends it.

A small file can keep a decoder busy for hours (a progressive JPEG of many scans), ask for all
memory, or hit a defect in native code. In a process of its own that costs one photo.

Frames in both directions: lengths of a JSON head and of a body, then these. In: first the contract
and the limits; then photos, in the body. Out: `pixels` in the body, or the reason in the head.
"""

import json
import resource
import struct
import sys
import warnings
from typing import Any, BinaryIO

FRAME = struct.Struct(">II")


def main() -> None:
    """Answers frames until there are no more."""
    inside, outside = sys.stdin.buffer, sys.stdout.buffer
    from trainer.exporting.contract import Contract

    warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which do not matter here
    head, _ = _read(inside) or ({}, b"")
    contract = Contract.from_json(head["contract"])
    limit = _memory_now() + head["decoder_mb"] * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    while frame := _read(inside):
        _write(outside, *_decode(frame[1], contract, head["max_pixels"]))


def _decode(encoded: bytes, contract: Any, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from trainer.exporting.contract import PhotoError, PhotoTooLargeError, prepare_photo

    try:
        photo = prepare_photo(encoded, contract, max_pixels)
    except PhotoTooLargeError as error:
        return {"status": 413, "reason": str(error)}, b""
    except PhotoError as error:
        if isinstance(error.__cause__, MemoryError):
            return {"status": 413, "reason": "needs more memory to decode than is allowed"}, b""
        return {"status": 422, "reason": str(error)}, b""
    head = {"width": photo.width, "height": photo.height, "box": photo.box}
    return head, photo.pixels.tobytes()


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
