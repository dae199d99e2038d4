"""A Kaggle competition: a table of labels, folders of photos, a sample submission."""

from collections.abc import Iterable
from dataclasses import dataclass

from tfrecords_builder.manifest import MissingRow, Submission
from tfrecords_builder.sources.base import Listing, Photo, Quarantined
from tfrecords_builder.sources.label_table import LabelTable, load_label_table, shown
from tfrecords_builder.sources.photo_files import (
    PhotoFile,
    SourceError,
    list_photo_files,
    read_photo_file,
)

NO_PHOTO = "id without a photo"
NO_ROW = "photo without a row"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompetitionSource:
    """Photos lie under `images` as <category>/<id> or flat as <id>; so do the test photos.

    An id is only ever looked up in the listing of its folder, never joined to a path, so that no
    table can point outside.
    """

    images: str
    labels: str
    test_images: str | None = None
    sample_submission: str | None = None
    id_column: str = "Id"
    label_column: str = "Category"
    group_column: str | None = None
    """Column of `labels`; photos with the same non-empty value are split together."""
    quarantine_mismatches: bool = False
    """Leave out, and count, ids without a photo and photos without a row; else they are errors."""

    def list_photos(self) -> Listing:
        """Matches tables and folders.

        Raises:
          SourceError: a table or folder is unusable, or they do not match.
        """
        table = load_label_table(
            self.labels,
            id_column=self.id_column,
            label_column=self.label_column,
            group_column=self.group_column,
        )
        photos, quarantined = self._match(table, self.images, self.labels, with_labels=True)
        submission = None
        missing: list[MissingRow] = []
        if self.test_images is not None:
            if self.sample_submission is not None:
                sample = load_label_table(
                    self.sample_submission,
                    id_column=self.id_column,
                    label_column=self.label_column,
                )
                submission = Submission(
                    id_column=sample.id_column, label_column=sample.label_column
                )
                test_photos, test_quarantined = self._match(
                    sample, self.test_images, self.sample_submission, with_labels=False
                )
                found = {photo.id for photo in test_photos}
                missing = [
                    MissingRow(position=position, id=record_id)
                    for position, record_id in enumerate(sample.ids)
                    if record_id not in found
                ]
            else:
                test_photos, test_quarantined = _all_as_test(self.test_images)
            _check_disjoint(photos, test_photos)
            photos += test_photos
            quarantined += test_quarantined
        elif self.sample_submission is not None:
            raise SourceError(
                "--sample_submission was given without --test_images; "
                "give the folder of the test photos too"
            )
        return Listing(
            photos=tuple(photos),
            quarantined=tuple(quarantined),
            submission=submission,
            missing=tuple(missing),
            description=self._description(),
        )

    def read(self, photo: Photo) -> bytes:
        """Returns the content of the photo's file."""
        return read_photo_file(photo.locator)

    def _match(
        self, table: LabelTable, folder: str, table_path: str, *, with_labels: bool
    ) -> tuple[list[Photo], list[Quarantined]]:
        files = {file.relative_path: file for file in list_photo_files(folder)}
        photos, quarantined = [], []
        without_photo: dict[str, str | None] = {}
        groups = table.groups or ("",) * len(table.ids)
        for record_id, label, group in zip(table.ids, table.labels, groups, strict=True):
            # A sample submission's labels are placeholders: no folder is called after them.
            class_name = label if with_labels else None
            sorted_path = f"{label}/{record_id}" if with_labels else record_id
            found = sorted_path if sorted_path in files else record_id
            file = files.pop(found, None)
            if file is None:
                without_photo[record_id] = class_name
            elif file.refusal is not None:
                quarantined.append(
                    Quarantined(
                        id=record_id,
                        locator=file.path,
                        reason=file.refusal,
                        class_name=class_name,
                    )
                )
            else:
                photos.append(_photo(record_id, class_name, file, group))
        if not self.quarantine_mismatches:
            _raise_on_mismatch(list(without_photo), files, table_path, folder)
        quarantined += [
            Quarantined(id=record_id, locator=table_path, reason=NO_PHOTO, class_name=class_name)
            for record_id, class_name in without_photo.items()
        ]
        quarantined += [
            Quarantined(id=file.relative_path, locator=file.path, reason=NO_ROW)
            for file in files.values()
        ]
        return photos, quarantined

    def _description(self) -> dict[str, str]:
        paths = {
            "images": self.images,
            "labels": self.labels,
            "test_images": self.test_images,
            "sample_submission": self.sample_submission,
        }
        return {"kind": "csv", **{name: path for name, path in paths.items() if path is not None}}


def _photo(record_id: str, class_name: str | None, file: PhotoFile, group: str = "") -> Photo:
    return Photo(
        id=record_id,
        class_name=class_name,
        locator=file.path,
        num_bytes=file.num_bytes,
        version=file.version,
        split="test" if class_name is None else None,
        group=group or None,
    )


def _all_as_test(folder: str) -> tuple[list[Photo], list[Quarantined]]:
    files = list_photo_files(folder)
    photos = [_photo(file.relative_path, None, file) for file in files if file.refusal is None]
    quarantined = [
        Quarantined(id=file.relative_path, locator=file.path, reason=file.refusal)
        for file in files
        if file.refusal is not None
    ]
    return photos, quarantined


def _raise_on_mismatch(
    without_photo: list[str], unmatched: dict[str, PhotoFile], table_path: str, folder: str
) -> None:
    remedy = "mend the table or the folder, or leave them out with --mismatches=quarantine"
    if without_photo:
        elsewhere = {path.rsplit("/", maxsplit=1)[-1]: path for path in unmatched}
        hint = next(
            (
                f" ({record_id!r} lies under {elsewhere[record_id]!r}, another category)"
                for record_id in without_photo
                if record_id in elsewhere
            ),
            "",
        )
        raise SourceError(
            f"{table_path}: {len(without_photo)} ids without a photo in {folder!r}: "
            f"{shown(without_photo)}{hint}; {remedy}"
        )
    if unmatched:
        raise SourceError(
            f"{folder}: {len(unmatched)} photos without a row in {table_path!r}: "
            f"{shown(list(unmatched))}; {remedy}"
        )


def _check_disjoint(photos: Iterable[Photo], test_photos: Iterable[Photo]) -> None:
    ids = {photo.id for photo in photos}
    both = [photo.id for photo in test_photos if photo.id in ids]
    if both:
        raise SourceError(
            f"duplicate ids in the training and the test photos: {shown(both)}; "
            "rename one of each pair, ids are unique over the whole data set"
        )
