"""The audit's results as JSON, as one HTML page, and as tables that feed the next build."""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from tfrecords_builder.audit.duplicates import DuplicateGroup
from tfrecords_builder.audit.inspection import PhotoFacts
from tfrecords_builder.description import csv_text

MAX_GROUPS_SHOWN = 200
MAX_MEMBERS_SHOWN = 12
_PERCENTILES = (0, 1, 10, 50, 90, 99, 100)
_NO_CLASS = "(no label)"


def summarize(
    photos: Sequence[PhotoFacts], groups: Sequence[DuplicateGroup], source: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the content of `audit.json`."""
    usable = [photo for photo in photos if photo.width]
    problems = defaultdict(list)
    for photo in photos:
        for problem in photo.problems:
            problems[problem].append(photo.id)
    return {
        "source": dict(source),
        "num_photos": len(photos),
        "num_usable": len(usable),
        "class_counts": _class_counts(photos),
        "problems": dict(sorted(problems.items())),
        "broken": {photo.id: photo.detail for photo in photos if "broken" in photo.problems},
        "width_px": _percentiles([photo.width for photo in usable]),
        "height_px": _percentiles([photo.height for photo in usable]),
        "aspect": _percentiles([photo.width / photo.height for photo in usable]),
        "duplicates": {
            "num_groups": len(groups),
            "num_exact": sum(group.exact for group in groups),
            "num_across_classes": sum(group.crosses_classes for group in groups),
            "num_across_splits": sum(group.crosses_splits for group in groups),
            "groups": [_group(group) for group in groups],
        },
    }


def dumps_summary(summary: Mapping[str, Any]) -> str:
    """Returns the text of `audit.json`."""
    return json.dumps(summary, indent=1, ensure_ascii=False) + "\n"


def render_page(
    summary: Mapping[str, Any],
    groups: Sequence[DuplicateGroup],
    contact_sheets: Mapping[str, Sequence[PhotoFacts]],
    thumbnails: Mapping[str, bytes],
) -> str:
    """Returns `audit.html`: one file with all pictures inside, nothing loaded, no scripts."""
    import jinja2

    template = resources.files("tfrecords_builder.audit").joinpath("page.html").read_text("utf-8")
    # Escaping matters: class and file names are whatever somebody called their files.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    pictures = {
        photo_id: "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode()
        for photo_id, thumbnail in thumbnails.items()
    }
    largest_class = max(
        (sum(counts.values()) for counts in summary["class_counts"].values()), default=1
    )
    return environment.from_string(template).render(
        summary=summary,
        groups=groups[:MAX_GROUPS_SHOWN],
        max_members=MAX_MEMBERS_SHOWN,
        contact_sheets=contact_sheets,
        pictures=pictures,
        largest_class=largest_class,
    )


def exclusion_table(photos: Sequence[PhotoFacts]) -> str:
    """Returns a proposal for `--exclude`: broken photos, spare copies, contradicting labels.

    Of exact copies with one label, training photos go before validation photos; photos of the
    test split are never proposed.
    """
    reasons: dict[str, str] = {}
    copies = defaultdict(list)
    for photo in photos:
        if "broken" in photo.problems:
            reasons[photo.id] = f"broken: {photo.detail}"
        copies[photo.sha256 or photo.id].append(photo)
    for same in copies.values():
        # The test split cannot change, then validation is kept: a copy in train would leak.
        keep, *spare = sorted(same, key=lambda photo: ("test", "val", "train").index(photo.split))
        if len({photo.class_name for photo in same if photo.class_name}) > 1:
            for photo in same:
                reasons.setdefault(photo.id, "the same file stands under different labels")
        else:
            for photo in spare:
                reasons.setdefault(photo.id, f"copy of {keep.id}")
    in_test = {photo.id for photo in photos if photo.split == "test"}
    rows = [(name, reason) for name, reason in reasons.items() if name not in in_test]
    return csv_text(("id", "reason"), rows)


def group_table(groups: Iterable[DuplicateGroup]) -> str:
    """Returns a table for `--groups`: photos that look the same are split together."""
    rows = [
        (photo.id, f"look-alikes-{number}")
        for number, group in enumerate(groups)
        for photo in group.members
    ]
    return csv_text(("id", "group"), rows)


def _class_counts(photos: Iterable[PhotoFacts]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for photo in photos:
        counts[photo.class_name or _NO_CLASS][photo.split] += 1
    return {name: dict(counter) for name, counter in counts.items()}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"p{share}": round(ordered[round(share / 100 * last)], 3) for share in _PERCENTILES}


def _group(group: DuplicateGroup) -> dict[str, Any]:
    return {
        "exact": group.exact,
        "across_classes": group.crosses_classes,
        "across_splits": group.crosses_splits,
        "members": [
            {"id": photo.id, "class": photo.class_name, "split": photo.split}
            for photo in group.members
        ],
    }
