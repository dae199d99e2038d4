"""Flat folders of files as private Kaggle data sets, uploaded once."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.kaggle_client import find
from launch.kaggle_contract import sha256_of
from launch.kaggle_errors import KaggleRefused
from launch.kaggle_record import LaunchError
from trainer.submission.connection import CallFailed, Connection, Unanswered
from trainer.submission.errors import KaggleUnavailable

READY_TIMEOUT_SECS = 3600.0
_POLL_SECS = (2.0, 30.0)
_TAG = "content "


class Datasets:
    """The private data sets of the connection's user."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self.connection = connection
        self._clock = clock

    def upload(self, dataset: str, folder: Path) -> bool:
        """Makes the data set, or a new version of it, of the files in the folder; waits for it.

        Idempotent: what is there already with the same content is left as it is. An upload whose
        answer was lost is looked for before it is sent again.

        Args:
          dataset: OWNER/NAME.
          folder: Its files, without hidden and empty ones; it must have no folders.

        Returns:
          Whether anything was uploaded.

        Raises:
          SubmissionError: Kaggle does not take it, or cannot be reached.
        """
        tag = _TAG + _content_hash(folder)
        num_failed, uploaded = 0, False
        while True:
            known = self._description(dataset)
            if known is not None and tag in known:
                break
            uploaded = True
            try:
                self.connection.attempt(_upload(dataset, folder, tag, is_new=known is None))
                break
            except CallFailed as failed:
                num_failed += 1
                self.connection.wait_after(failed.failure, num_failed)
        self._wait_until_ready(dataset, tag)
        return uploaded

    def _description(self, dataset: str) -> str | None:
        """What tells the content of the newest version; None if there is no such data set."""

        def query(api: Any) -> Any:
            from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

            request = ApiGetDatasetRequest()
            request.owner_slug, request.dataset_slug = dataset.split("/")
            with api.build_kaggle_client() as kaggle:
                return kaggle.datasets.dataset_api_client.get_dataset(request)

        answer = find(self.connection, query)
        return None if answer is None else answer.description or ""

    def _wait_until_ready(self, dataset: str, tag: str) -> None:
        """A session that starts earlier would be given the version before."""
        start, delay = self._clock(), _POLL_SECS[0]
        while True:
            known = self._description(dataset)
            status = self.connection.call(lambda api: api.dataset_status(dataset))
            if status in ("failed", "deleted"):
                raise KaggleRefused(
                    f"Kaggle could not make {dataset} ({status}); a data set that is ready is "
                    f"needed; look at https://www.kaggle.com/datasets/{dataset} and start the same "
                    "command again"
                )
            if status == "ready" and known is not None and tag in known:
                return
            waited = self._clock() - start
            if waited + delay > READY_TIMEOUT_SECS:
                raise KaggleUnavailable(
                    f"{dataset} is not ready after {waited / 60:.0f} minutes ({status}); it must "
                    "be before a session starts; start the same command again to go on waiting"
                )
            self.connection.report(f"waiting for data set {dataset}: {waited:.0f} s, {status}")
            self.connection.sleep(delay)
            delay = min(delay * 1.5, _POLL_SECS[1])


def _uploaded(folder: Path) -> list[Path]:
    """What is uploaded: neither hidden nor empty files, which Kaggle does not take."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path.is_dir() or path.stat().st_size)
    )


def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _uploaded(folder):
        if path.is_dir():
            raise LaunchError(
                f"{folder} holds a folder, {path.name}; a flat folder of files is needed, such as "
                "tfrecords_builder writes; give the folder that has manifest.json in it"
            )
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:32]


def _upload(dataset: str, folder: Path, tag: str, *, is_new: bool) -> Callable[[Any], None]:
    """One try. The client leaves a file out that it could not upload: they are counted."""

    def send(api: Any) -> None:
        from kaggle.api.kaggle_api_extended import ResumableUploadContext
        from kagglesdk.blobs.types.blob_api_service import ApiBlobType
        from kagglesdk.datasets.types import dataset_api_service as types

        owner, name = dataset.split("/")
        if is_new:
            request = content = types.ApiCreateDatasetRequest()
            request.title, request.slug, request.owner_slug = name, name, owner
            request.license_name, request.is_private = "unknown", True
        else:
            request, content = (
                types.ApiCreateDatasetVersionRequest(),
                types.ApiCreateDatasetVersionRequestBody(),
            )
            request.owner_slug, request.dataset_slug = owner, name
            content.version_notes = tag
            # Only the newest is ever read, and all of them count against the account's space.
            content.delete_old_versions = True
        content.description, content.files = tag, []
        with ResumableUploadContext() as context:
            left_out = [path.name for path in folder.iterdir() if path not in _uploaded(folder)]
            api.upload_files(
                content,
                None,
                str(folder),
                ApiBlobType.DATASET,
                context,
                quiet=True,
                ignore_patterns=left_out + [f"{name}/" for name in left_out],
            )
            wanted = len(_uploaded(folder))
            if len(content.files) != wanted:
                raise Unanswered(f"{len(content.files)} of {wanted} files uploaded")
            if not is_new:
                request.body = content
            with api.build_kaggle_client() as kaggle:
                client = kaggle.datasets.dataset_api_client
                make = client.create_dataset if is_new else client.create_dataset_version
                answer = make(request)
        if answer.error:
            raise KaggleRefused(
                f"Kaggle did not make {dataset} ({answer.error}); a data set that it takes is "
                "needed; look at the account's data sets and start the same command again"
            )

    return send
