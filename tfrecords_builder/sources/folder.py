"""Photos sorted into one folder a class: DIR/<class>/<photo>."""

from dataclasses import dataclass

from tfrecords_builder.sources.base import Listing, Photo, Quarantined
from tfrecords_builder.sources.photo_files import (
    LINKED_FOLDER,
    PhotoFile,
    SourceError,
    list_photo_files,
    read_photo_file,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSource:
    """The name of the first folder below `images` is the class; the id is the relative path."""

    images: str

    def list_photos(self) -> Listing:
        """Lists every file of every class folder.

        Raises:
          SourceError: the folder is missing or empty, or its files are in no class folder.
        """
        files = list_photo_files(self.images)
        if not any(map(_class_of, files)):
            raise SourceError(
                f"{self.images!r} holds {len(files)} files but no class folder; "
                "sort the photos into one folder a class: DIR/<class>/<photo>"
            )
        photos = [_photo(file) for file in files]
        return Listing(
            photos=tuple(photo for photo in photos if isinstance(photo, Photo)),
            quarantined=tuple(photo for photo in photos if isinstance(photo, Quarantined)),
            description={"kind": "folder", "images": self.images},
        )

    def read(self, photo: Photo) -> bytes:
        """Returns the content of the photo's file."""
        return read_photo_file(photo.locator)


def _class_of(file: PhotoFile) -> str | None:
    first, slash, _ = file.relative_path.partition("/")
    # A linked class folder is one all the same: it must not go without a word.
    return first if slash or file.refusal == LINKED_FOLDER else None


def _photo(file: PhotoFile) -> Photo | Quarantined:
    class_name = _class_of(file)
    if file.refusal is not None or class_name is None:
        return Quarantined(
            id=file.relative_path,
            locator=file.path,
            reason=file.refusal or "in no class folder",
            class_name=class_name,
        )
    return Photo(
        id=file.relative_path,
        class_name=class_name,
        locator=file.path,
        num_bytes=file.num_bytes,
        version=file.version,
    )
