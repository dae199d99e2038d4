"""Photos sorted into one folder a class: DIR/<class>/<photo>."""

from dataclasses import dataclass

from tfrecords_builder.sources.base import Listing, Photo, Quarantined
from tfrecords_builder.sources.photo_files import (
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
        photos = [_photo(file) for file in files if "/" in file.relative_path]
        if not photos:
            raise SourceError(
                f"{self.images!r} holds {len(files)} files but no class folder; "
                "sort the photos into one folder a class: DIR/<class>/<photo>"
            )
        usable = [photo for photo in photos if isinstance(photo, Photo)]
        quarantined = [photo for photo in photos if isinstance(photo, Quarantined)]
        quarantined += [
            Quarantined(id=file.relative_path, locator=file.path, reason="in no class folder")
            for file in files
            if "/" not in file.relative_path
        ]
        return Listing(
            photos=tuple(usable),
            quarantined=tuple(quarantined),
            description={"kind": "folder", "images": self.images},
        )

    def read(self, photo: Photo) -> bytes:
        """Returns the content of the photo's file."""
        return read_photo_file(photo.locator)


def _photo(file: PhotoFile) -> Photo | Quarantined:
    if file.refusal is not None:
        return Quarantined(id=file.relative_path, locator=file.path, reason=file.refusal)
    return Photo(
        id=file.relative_path,
        class_name=file.relative_path.split("/", maxsplit=1)[0],
        locator=file.path,
        num_bytes=file.num_bytes,
        version=file.version,
    )
