"""What stands in `export.json` of an exported file, and in the line about it."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.exporting.proving import Proven
from trainer.exporting.targets import Target


def make_entry(target: Target, path: Path, proven: Proven) -> dict[str, Any]:
    """Size, hashes, proof and cost of the file, or folder, at a path."""
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) or [path]
    result = proven.result
    document: dict[str, Any] = {
        "file": target.name,
        "format": target.format,
        "quantization": target.quantization,
        "bytes": sum(entry.stat().st_size for entry in files),
        "sha256": {
            entry.relative_to(path.parent).as_posix(): hashlib.sha256(
                entry.read_bytes()
            ).hexdigest()
            for entry in files
        },
        "proof": proven.comparison.to_json(),
        "bound": asdict(target.bound),
        "load_secs": result.load_secs,
        "latency_ms": result.latency_ms,
        "num_threads": result.num_threads,
        "peak_memory_mb": result.peak_memory_mb,
    }
    if proven.remedy is not None:
        document["remedy"] = {"name": proven.remedy, "tried_before": list(proven.tried)}
    if proven.encoded is not None:
        document["proof_on_encoded"] = proven.encoded.to_json()
    return document


def describe_entry(entry: dict[str, Any]) -> str:
    """One line for people."""
    proof = entry["proof"]
    scored = "" if proof["top_1"] is None else f"top-1 {proof['top_1']:.4f}, "
    remedy = f" ({entry['remedy']['name']})" if "remedy" in entry else ""
    peak = entry["peak_memory_mb"]
    memory = "" if peak is None else f", peak {peak:.0f} MB"
    return (
        f"{entry['file']:22} {entry['bytes'] / 1e6:7.1f} MB  {scored}"
        f"drop {proof['drop_points']:.2f} points, agreement {proof['agreement']:.1%}, largest "
        f"difference {proof['max_difference']:.2g}, {entry['latency_ms']:.1f} ms a photo on "
        f"{entry['num_threads']} thread(s){memory}{remedy}"
    )
