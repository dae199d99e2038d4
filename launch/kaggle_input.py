"""What is attached to a session: records, photos to build them of, the state to go on from."""

import contextlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.kaggle_archive import find_layout, unpack
from launch.kaggle_contract import STATE_FILE, sha256_of
from tfrecords_builder.errors import UserError

INPUT_PLACEHOLDER = "{input}"
"""In --build: where the attached data are."""
_MAX_DEPTH = 5
"""Attached data lie at most three folders deep, and a folder or two in themselves."""


class SessionError(UserError):
    """What makes a session end before it trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttachedInput:
    """The folder below which Kaggle mounts what a push attached; it cannot be written."""

    folder: Path
    unpacked: Path
    """Where to unpack photos that come in archives."""

    def find_records(self) -> Path | None:
        """The folder with built records, if there is one."""
        for path in self._find_files("manifest.json"):
            with contextlib.suppress(ValueError):
                manifest = json.loads(path.read_text())
                if isinstance(manifest, dict) and "splits" in manifest and "classes" in manifest:
                    return path.parent
        return None

    def find_state(self, sha256: str, session: int) -> Path:
        """The folder with the state of a session, by the checksum of its list.

        Raises:
          SessionError: No attached data set holds it.
        """
        for path in self._find_files(STATE_FILE):
            if sha256_of(path) == sha256:
                return path.parent
        raise SessionError(
            f"no attached data set holds the state of session {session}; that version is needed; "
            "wait until the data set is ready and push again (python -m launch.kaggle chain does "
            "it)"
        )

    def require_data(self, given: Sequence[str]) -> None:
        """Looks, in seconds and without opening archives, whether there may be data at all.

        Args:
          given: The builder's flags that were given; with some, any data do.

        Raises:
          SessionError: Nothing that `find_records` or `builder_flags` could use is attached.
        """
        if self.find_records() is None and not any(
            given or any(source.glob("*.zip")) or find_layout(_names(source)).builder_flags(source)
            for source in self._sources()
        ):
            raise self._nothing_recognised()

    def builder_flags(self, given: Sequence[str]) -> tuple[str, ...]:
        """The builder's flags for the attached photos: those given, or as they are recognised.

        Raises:
          SessionError: Nothing is recognised, or an archive is damaged.
        """
        sources = self._sources()
        if given:
            where = str(self._readable(sources[0]) if sources else self.folder)
            return tuple(flag.replace(INPUT_PLACEHOLDER, where) for flag in given)
        for source in sources:
            folder = self._readable(source)
            flags = find_layout(_names(folder)).builder_flags(folder)
            if flags is not None:
                return flags
        raise self._nothing_recognised()

    def _nothing_recognised(self) -> SessionError:
        return SessionError(
            f"no records and no labelled photos recognised below {self.folder} "
            f"({', '.join(map(str, self._sources())) or 'it is empty'}); one of them is needed; "
            "push with --competition, --data or --dataset, or say with --build how to build records"
        )

    def _readable(self, source: Path) -> Path:
        """The source, or, if its photos are in archives, a copy of it with these unpacked.

        Kaggle mounts competitions of old as they were uploaded: tables beside train.zip, test.zip.
        """
        archives = [path for path in sorted(source.glob("*.zip")) if zipfile.is_zipfile(path)]
        if not archives:
            return source
        target = self.unpacked / source.name
        target.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path not in archives and not (target / path.name).exists():
                (target / path.name).symlink_to(path)
        for archive in archives:
            for _ in unpack(archive, target):
                pass
        return target

    def _sources(self) -> list[Path]:
        """Attached data: input/NAME, input/competitions/NAME or input/datasets/OWNER/NAME."""
        found: list[Path] = []
        for path in sorted(self.folder.glob("*")):
            depth = {"competitions": "*", "datasets": "*/*"}.get(path.name)
            found += sorted(path.glob(depth)) if depth else [path]
        return [path for path in found if path.is_dir() and not (path / STATE_FILE).is_file()]

    def _find_files(self, name: str) -> list[Path]:
        return [
            path
            for depth in range(1, _MAX_DEPTH + 1)
            for path in sorted(self.folder.glob("*/" * depth + name))
            if path.is_file()
        ]


def _names(folder: Path) -> list[str]:
    """All files below the folder, also below links to folders, by their relative paths."""
    return [
        Path(root, name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder, followlinks=True)
        for name in names
    ]
