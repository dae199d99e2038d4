"""A source with the user's corrections: classes regrouped, photos excluded or tied together."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tfrecords_builder.regroup import load_groups, regroup
from tfrecords_builder.sources.base import Listing, Photo, Quarantined, Source
from tfrecords_builder.sources.label_table import load_label_table, load_text
from tfrecords_builder.sources.photo_files import SourceError


@dataclass(frozen=True, kw_only=True, slots=True)
class AdjustedSource:
    """Lists what `source` lists, after the corrections; reads through it."""

    source: Source
    exclude: str | None = None
    """File with one id a line, or CSV with the columns id and, if wanted, reason."""
    regroup: str | None = None
    """CSV file with the columns class and group, or the name of a shipped table."""
    groups: str | None = None
    """CSV file with the columns id and group: photos of one group are split together."""

    def list_photos(self) -> Listing:
        """Lists the photos and applies the corrections.

        Raises:
          SourceError: a file of corrections cannot be used.
        """
        listing = self.source.list_photos()
        if self.exclude is not None:
            listing = exclude_photos(listing, load_exclusions(self.exclude), self.exclude)
        if self.regroup is not None:
            listing = regroup(listing, load_groups(self.regroup), self.regroup)
        if self.groups is not None:
            listing = _tie_together(listing, self.groups)
        return listing

    def read(self, photo: Photo) -> bytes:
        """Returns the encoded bytes of one photo."""
        return self.source.read(photo)


def load_exclusions(path: str) -> dict[str, str]:
    """Returns id -> reason from an exclusion list.

    Raises:
      SourceError: the file is missing or no text.
    """
    text = load_text(path, "a file with one id a line")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise SourceError(f"{path}: not CSV ({error}); write one id a line") from error
    if rows and rows[0][0].lower() == "id":
        del rows[0]
    return {row[0]: row[1] if len(row) > 1 and row[1] else "no reason given" for row in rows}


def exclude_photos(listing: Listing, reasons: Mapping[str, str], path: str) -> Listing:
    """Returns the listing without the excluded photos, which it quarantines.

    Photos that a submission must answer for are never excluded.

    Raises:
      SourceError: an id of the list is not in the listing.
    """
    _check_known(reasons, listing, path)
    photos, excluded = [], []
    for photo in listing.photos:
        to_predict = photo.split == "test" and listing.submission is not None
        if photo.id in reasons and not to_predict:
            excluded.append(
                Quarantined(
                    id=photo.id, locator=photo.locator, reason=f"excluded: {reasons[photo.id]}"
                )
            )
        else:
            photos.append(photo)

    def without_class(row: Quarantined) -> Quarantined:
        # So that the list can take a class away of which no photo may be read.
        return dataclasses.replace(row, class_name=None) if row.id in reasons else row

    return dataclasses.replace(
        listing,
        photos=tuple(photos),
        quarantined=(*map(without_class, listing.quarantined), *excluded),
        adjustments={**listing.adjustments, "exclude": path},
    )


def _check_known(ids: Iterable[str], listing: Listing, path: str) -> None:
    known = {photo.id for photo in listing.photos} | {row.id for row in listing.quarantined}
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise SourceError(
            f"{path}: {len(unknown)} ids are no photos, the first is {unknown[0]!r}; "
            "write ids as records.csv does and take out those of photos that are gone"
        )


def _tie_together(listing: Listing, path: str) -> Listing:
    table = load_label_table(
        path, id_column="id", label_column="group", ids_are_files=False, may_be_empty=True
    )
    _check_known(table.ids, listing, path)
    groups = dict(zip(table.ids, table.labels, strict=True))
    parents: dict[str, str] = {}

    def root(group: str) -> str:
        while group in parents:
            group = parents[group]
        return group

    # A photo that has a group already, of the source, joins the two.
    for photo in listing.photos:
        if photo.group is not None and photo.id in groups:
            one, other = root(groups[photo.id]), root(photo.group)
            if one != other:
                parents[one] = other

    def tied(photo: Photo) -> Photo:
        group = groups.get(photo.id, photo.group)
        return photo if group is None else dataclasses.replace(photo, group=root(group))

    photos = tuple(map(tied, listing.photos))
    adjustments = {**listing.adjustments, "groups": path}
    return dataclasses.replace(listing, photos=photos, adjustments=adjustments)
