"""Classes into coarser groups, by a table that is data: class,group."""

import dataclasses
import difflib
from importlib import resources

from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.base import Listing
from tfrecords_builder.sources.label_table import load_label_table, shown

SHIPPED_TABLES = {"stanford_cars": "stanford_cars_groups.csv"}


class RegroupError(UserError):
    """A table does not fit the classes of the photos."""


def load_groups(table: str) -> dict[str, str]:
    """Returns class -> group from a CSV file with these two columns, or from a shipped table.

    Raises:
      SourceError: there is no such table, or it is no such table.
    """
    shipped = SHIPPED_TABLES.get(table)
    if shipped is None:
        return _load_table(table)
    with resources.as_file(resources.files("tfrecords_builder.sources") / shipped) as path:
        return _load_table(str(path))


def regroup(listing: Listing, groups: dict[str, str], table: str) -> Listing:
    """Returns the listing with every class replaced by its group.

    Raises:
      RegroupError: a class of the listing is not in the table.
    """
    used = {photo.class_name for photo in listing.photos if photo.class_name is not None}
    used |= {row.class_name for row in listing.quarantined if row.class_name is not None}
    used |= set(listing.class_names or ())
    unknown = sorted(used - groups.keys())
    if unknown:
        near = difflib.get_close_matches(unknown[0], groups, n=1)
        hint = f" (the nearest in the table is {near[0]!r})" if near else ""
        raise RegroupError(
            f"{table}: no group for {len(unknown)} classes: {shown(unknown)}{hint}; "
            "add a line class,group for each"
        )
    photos = tuple(
        dataclasses.replace(photo, class_name=groups[photo.class_name])
        if photo.class_name is not None
        else photo
        for photo in listing.photos
    )
    quarantined = tuple(
        dataclasses.replace(row, class_name=groups[row.class_name])
        if row.class_name is not None
        else row
        for row in listing.quarantined
    )
    return dataclasses.replace(
        listing,
        photos=photos,
        quarantined=quarantined,
        class_names=None,
        adjustments={**listing.adjustments, "regroup": table},
    )


def _load_table(path: str) -> dict[str, str]:
    rows = load_label_table(path, id_column="class", label_column="group", ids_are_files=False)
    return dict(zip(rows.ids, rows.labels, strict=True))
