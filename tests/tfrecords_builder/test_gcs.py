"""`gs://` in and out, through the real client, against a stand-in that also fails."""

import gc
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.storage")

import google.oauth2.credentials

from tests.tfrecords_builder.gcs_server import GcsServer
from tests.tfrecords_builder.photos import make_photo, write_photos
from tfrecords_builder import gcs
from tfrecords_builder.audit.audit import AuditSettings, audit
from tfrecords_builder.build import BuildResult, BuildSettings, build
from tfrecords_builder.build_folder import BuildFolderError
from tfrecords_builder.manifest import ManifestError, load_manifest
from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.sources.photo_files import SourceError
from tfrecords_builder.splits import SplitSettings
from tfrecords_builder.verify import find_problems

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # The client's open sockets.


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    server = GcsServer()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    gcs._client.cache_clear()
    yield server
    gcs._client()._http.close()
    gcs._client.cache_clear()
    gc.collect()  # Sockets that are still open are this test's, not the next one's.
    server.shutdown()
    server.server_close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", {"a": 20, "b": 20})
    return tmp_path / "photos"


def put_photos(server: GcsServer, photos: Path) -> None:
    for path in photos.rglob("*.jpg"):
        server.put(f"bucket/photos/{path.relative_to(photos)}", path.read_bytes())


def build_to(images: object, out: object, **settings: int) -> BuildResult:
    return build(FolderSource(images=str(images)), BuildSettings(out=str(out), **settings))


def records_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("dataset-")}


def local_files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_a_build_into_a_bucket_has_the_bytes_of_a_local_one(
    server: GcsServer, photos: Path, tmp_path: Path
) -> None:
    local = build_to(photos, tmp_path / "out")
    remote = build_to(photos, "gs://bucket/data", num_workers=2)
    assert remote.manifest == local.manifest == load_manifest("gs://bucket/data")
    assert records_of(server.files("bucket/data")) == records_of(local_files(tmp_path / "out"))
    assert find_problems("gs://bucket/data") == []


def test_damage_in_a_bucket_is_found(server: GcsServer, photos: Path) -> None:
    build_to(photos, "gs://bucket/data")
    name = next(name for name in server.objects if "dataset-train" in name)
    spoilt = bytearray(server.objects[name][0])
    spoilt[len(spoilt) // 2] ^= 1
    server.put(name, bytes(spoilt))
    assert any("SHA-256 differs" in problem for problem in find_problems("gs://bucket/data"))


def test_photos_in_a_bucket_give_the_same_records(
    server: GcsServer, photos: Path, tmp_path: Path
) -> None:
    put_photos(server, photos)
    build_to(photos, tmp_path / "local")
    build_to("gs://bucket/photos", tmp_path / "remote")
    local, remote = (local_files(tmp_path / name) for name in ("local", "remote"))
    assert records_of(local) == records_of(remote)


def test_failing_requests_are_repeated(server: GcsServer, photos: Path) -> None:
    put_photos(server, photos)
    server.fail_every = 9
    result = build_to("gs://bucket/photos", "gs://bucket/data")
    assert server.num_failures > 3
    assert result.num_quarantined == 0
    assert sum(split.num_examples for split in result.manifest.splits.values()) == 40


def test_the_same_build_again_does_nothing(server: GcsServer, photos: Path) -> None:
    build_to(photos, "gs://bucket/data")
    before = dict(server.objects)
    assert build_to(photos, "gs://bucket/data").num_shards_written == 0
    shards = [name for name in before if "dataset-" in name or "manifest" in name]
    assert {name: before[name] for name in shards} == {
        name: server.objects[name] for name in shards
    }


def test_a_lost_object_is_written_again_and_an_old_one_removed(
    server: GcsServer, photos: Path
) -> None:
    build_to(photos, "gs://bucket/data")
    before = records_of(server.files("bucket/data"))
    name = next(iter(before))
    del server.objects[f"bucket/data/{name}"]
    server.put("bucket/data/dataset-train.tfrecord-00000-of-00099", b"old")
    assert build_to(photos, "gs://bucket/data").num_shards_written == 1
    assert records_of(server.files("bucket/data")) == before


def test_a_changed_object_is_read_again(server: GcsServer, photos: Path, tmp_path: Path) -> None:
    put_photos(server, photos)
    build_to("gs://bucket/photos", tmp_path / "out")
    server.put("bucket/photos/a/3.jpg", make_photo(777))
    assert build_to("gs://bucket/photos", tmp_path / "out").num_shards_written == 1


def test_a_bucket_folder_that_holds_something_else_is_left_alone(
    server: GcsServer, photos: Path
) -> None:
    server.put("bucket/data/thesis.txt", b"precious")
    with pytest.raises(BuildFolderError, match="already holds something"):
        build_to(photos, "gs://bucket/data")
    assert server.files("bucket/data") == {"thesis.txt": b"precious"}


def test_large_files_go_up_in_chunks_that_survive_failures(
    server: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "UPLOAD_CHUNK_BYTES", 2**20)
    server.fail_every = 4
    data = os.urandom(9 * 2**20)
    (tmp_path / "shard").write_bytes(data)
    gcs.upload_file(str(tmp_path / "shard"), "gs://bucket/shard")
    assert server.objects["bucket/shard"][0] == data
    assert server.num_chunks == 9
    assert server.num_failures >= 2


def test_a_folder_without_a_manifest_is_no_data(server: GcsServer) -> None:
    with pytest.raises(ManifestError, match="not a finished data folder"):
        load_manifest("gs://bucket/nothing")


def test_a_bucket_folder_without_photos_is_an_error(server: GcsServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'gs://bucket/nothing' holds no photo"):
        build_to("gs://bucket/nothing", tmp_path / "out")


def test_an_audit_goes_into_a_bucket_too(
    server: GcsServer, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = AuditSettings(out="gs://bucket/audit", split=SplitSettings())
    audit(FolderSource(images=str(photos)), settings)
    assert {"audit.json", "audit.html", "exclude.csv", "groups.csv"} == set(
        server.files("bucket/audit")
    )
    assert not (tmp_path / "gs:").exists()


def test_a_failed_upload_leaves_nothing_behind(
    server: GcsServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(local_path: str, path: str) -> None:
        assert Path(local_path).stat().st_size > 0
        raise gcs.CloudStorageError("no access")

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(gcs, "upload_file", fail)
    with pytest.raises(gcs.CloudStorageError, match="no access"):
        build_to(photos, "gs://bucket/data")
    assert not any((tmp_path / "temporary").iterdir())


class _RefusingTokenServer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.dumps({"error": "invalid_grant", "error_description": "expired"}).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_credentials_without_a_project_that_expired_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials.json"
    fields = ("client_id", "client_secret", "refresh_token")
    credentials.write_text(json.dumps({"type": "authorized_user", **dict.fromkeys(fields, "x")}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    gcs._client.cache_clear()
    with HTTPServer(("127.0.0.1", 0), _RefusingTokenServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(
            google.oauth2.credentials,
            "_GOOGLE_OAUTH2_TOKEN_ENDPOINT",
            f"http://127.0.0.1:{server.server_port}/token",
        )
        with pytest.raises(gcs.CloudStorageError, match=r"expired.*gcloud auth"):
            gcs.read_bytes("gs://bucket/photo.jpg")
        server.shutdown()
    gcs._client()._http.close()
    gcs._client.cache_clear()


def test_a_path_without_a_bucket_is_one_clear_error(server: GcsServer) -> None:
    with pytest.raises(gcs.CloudStorageError, match="names no bucket"):
        gcs.read_bytes("gs:///folder")
