"""Stanford Cars (Krause et al., 3D Object Representations for Fine-Grained Categorization, 2013).

Reads the annotation files of the development kit as they are: `cars_train_annos.mat` with
`cars_test_annos_withlabels.mat` or `cars_test_annos.mat` and `cars_meta.mat`, or the single
`cars_annos.mat` of the other distribution.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecords_builder.sources.base import Box, Listing, Photo, Quarantined
from tfrecords_builder.sources.competition import NO_PHOTO, NO_ROW
from tfrecords_builder.sources.label_table import shown
from tfrecords_builder.sources.photo_files import (
    PhotoFile,
    SourceError,
    list_photo_files,
    read_photo_file,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One line of an annotation file."""

    path: str
    """Below the photo folder: cars_train/00001.jpg."""
    box: Box
    label: int | None
    """From 0, or None in the test file without labels."""
    is_test: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StanfordCarsSource:
    """Photos below `images` as cars_train/ and cars_test/ (or car_ims/), files below `devkit`."""

    images: str
    devkit: str
    quarantine_mismatches: bool = False

    def list_photos(self) -> Listing:
        """Matches annotations and photos.

        Raises:
          SourceError: a file is missing or damaged, or annotations and photos do not match.
        """
        class_names, annotations = load_annotations(self.devkit)
        files = {file.relative_path: file for file in list_photo_files(self.images)}
        photos: list[Photo] = []
        quarantined: list[Quarantined] = []
        without_photo = []
        for annotation in annotations:
            # Looked up, never joined: an annotation file cannot point outside of the folder.
            file = files.pop(annotation.path, None)
            if file is None:
                without_photo.append(annotation.path)
            elif file.refusal is not None:
                quarantined.append(
                    Quarantined(id=annotation.path, locator=file.path, reason=file.refusal)
                )
            else:
                photos.append(_photo(annotation, file, class_names))
        if without_photo and not self.quarantine_mismatches:
            raise SourceError(
                f"{self.images!r}: {len(without_photo)} annotated photos are missing: "
                f"{shown(without_photo)}; unpack all photos there or leave them out with "
                "--mismatches=quarantine"
            )
        quarantined += [
            Quarantined(id=path, locator=self.devkit, reason=NO_PHOTO) for path in without_photo
        ]
        quarantined += [
            Quarantined(id=file.relative_path, locator=file.path, reason=NO_ROW)
            for file in files.values()
        ]
        return Listing(
            photos=tuple(photos),
            quarantined=tuple(quarantined),
            class_names=class_names,
            description={"kind": "stanford_cars", "images": self.images, "devkit": self.devkit},
        )

    def read(self, photo: Photo) -> bytes:
        """Returns the content of the photo's file."""
        return read_photo_file(photo.locator)


def load_annotations(devkit: str) -> tuple[tuple[str, ...], list[Annotation]]:
    """Returns the class names and all annotations of a development kit.

    Raises:
      SourceError: the files are missing or are not those of Stanford Cars.
    """
    try:
        if os.path.exists(os.path.join(devkit, "cars_annos.mat")):
            content = _load_mat_of(devkit, "cars_annos")
            names = tuple(str(name) for name in content["class_names"])
            annotations = list(_single_file(content["annotations"]))
        else:
            names = tuple(str(name) for name in _load_mat_of(devkit, "cars_meta")["class_names"])
            annotations = list(_split_files(devkit))
        for annotation in annotations:
            if annotation.label is not None and not 0 <= annotation.label < len(names):
                raise IndexError(f"class {annotation.label + 1} of {len(names)}")
        return names, annotations
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SourceError(
            f"{devkit!r}: not the annotation files of Stanford Cars ({error!r}); "
            "give the folder of the unpacked car_devkit"
        ) from error


def _split_files(devkit: str) -> Iterator[Annotation]:
    train = _load_mat_of(devkit, "cars_train_annos")
    yield from _rows_of_split(train["annotations"], "cars_train", is_test=False)
    for name in ("cars_test_annos_withlabels", "cars_test_annos"):
        if os.path.exists(os.path.join(devkit, f"{name}.mat")):
            test = _load_mat_of(devkit, name)
            yield from _rows_of_split(test["annotations"], "cars_test", is_test=True)
            return


def _load_mat_of(devkit: str, name: str) -> Any:
    return _load_mat(os.path.join(devkit, f"{name}.mat"))


def _load_mat(path: str) -> Any:
    import scipy.io  # Only here: it takes a third of a second.

    try:
        content = scipy.io.loadmat(path, squeeze_me=True)
    except Exception as error:  # Of a damaged file zlib.error, NotImplementedError, ...
        raise SourceError(
            f"annotation file {path!r} cannot be read ({error}); "
            "give the folder of the unpacked car_devkit as --devkit"
        ) from error
    return {name: np.atleast_1d(value) for name, value in content.items()}


def _rows_of_split(rows: Iterable[Any], folder: str, *, is_test: bool) -> Iterator[Annotation]:
    for row in rows:
        has_label = "class" in row.dtype.names
        yield Annotation(
            path=f"{folder}/{row['fname']}",
            box=_box(row),
            label=int(row["class"]) - 1 if has_label else None,
            is_test=is_test,
        )


def _single_file(rows: Iterable[Any]) -> Iterator[Annotation]:
    for row in rows:
        yield Annotation(
            path=str(row["relative_im_path"]),
            box=_box(row),
            label=int(row["class"]) - 1,
            is_test=bool(row["test"]),
        )


def _box(row: Any) -> Box:
    # The files count pixels from 1 and include the last one.
    return Box(
        left=float(row["bbox_x1"]) - 1,
        top=float(row["bbox_y1"]) - 1,
        right=float(row["bbox_x2"]),
        bottom=float(row["bbox_y2"]),
    )


def _photo(annotation: Annotation, file: PhotoFile, class_names: tuple[str, ...]) -> Photo:
    return Photo(
        id=annotation.path,
        class_name=None if annotation.label is None else class_names[annotation.label],
        locator=file.path,
        num_bytes=file.num_bytes,
        version=file.version,
        split="test" if annotation.is_test else None,
        box=annotation.box,
    )
