"""Lengths of time as people read them."""


def describe_seconds(seconds: float) -> str:
    """`45 s`, `8.5 min` or `3 h 05 min`; below nothing is `0 s`."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
