"""Downloads from a server that breaks off, changes its mind, and lies."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.weights.server import Bucket, serve
from trainer.weights import WeightsError
from trainer.weights.download import MAX_ATTEMPTS, cache_folder, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def bucket(monkeypatch) -> Iterator[Bucket]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(Bucket(CONTENT)) as bucket:
        yield bucket


def no_sleep(secs: float) -> None:
    pass


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"weights.tar.gz.lock"}


def test_file_arrives_with_its_checksum_on_record(tmp_path: Path, bucket, capfd) -> None:
    path = fetch(bucket.address(), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (path.parent / "weights.tar.gz.sha256").read_text() == f"{digest}  weights.tar.gz\n"
    assert leftovers(path.parent) == {"weights.tar.gz", "weights.tar.gz.sha256"}
    assert "weights.tar.gz: 100%" in capfd.readouterr().err


def test_second_use_asks_nobody(tmp_path: Path, bucket) -> None:
    fetch(bucket.address(), tmp_path)
    fetch(bucket.address(), tmp_path)
    assert len(bucket.ranges) == 1


def test_broken_connection_is_taken_up_where_it_stopped(tmp_path: Path, bucket) -> None:
    bucket.cut_after = [1_000_000, 500_000]
    waits: list[float] = []
    path = fetch(bucket.address(), tmp_path, sleep=waits.append)
    assert path.read_bytes() == CONTENT
    assert bucket.ranges == [None, "bytes=1000000-", "bytes=1500000-"]
    assert waits == [1.0, 2.0]


def test_later_call_goes_on_from_an_earlier_one(tmp_path: Path, bucket) -> None:
    bucket.cut_after = [1_000_000] + [0] * (MAX_ATTEMPTS - 1)
    with pytest.raises(WeightsError, match="1,000,000 bytes are kept: start the same command"):
        fetch(bucket.address(), tmp_path, sleep=no_sleep)
    bucket.ranges.clear()
    assert fetch(bucket.address(), tmp_path).read_bytes() == CONTENT
    assert bucket.ranges == ["bytes=1000000-"]


def test_whole_part_needs_no_request(tmp_path: Path, bucket) -> None:
    """Killed between the last byte and the renaming."""
    bucket.cut_after = [2_999_999] + [0] * (MAX_ATTEMPTS - 1)
    with pytest.raises(WeightsError):
        fetch(bucket.address(), tmp_path, sleep=no_sleep)
    with (tmp_path / "weights.tar.gz.part").open("ab") as stream:
        stream.write(CONTENT[-1:])
    bucket.ranges.clear()
    assert fetch(bucket.address(), tmp_path).read_bytes() == CONTENT
    assert bucket.ranges == []


def test_file_that_changed_meanwhile_starts_over(tmp_path: Path, bucket) -> None:
    bucket.cut_after = [1_000_000]

    def change(secs: float) -> None:
        bucket.content, bucket.etag = CONTENT[::-1], '"two"'

    path = fetch(bucket.address(), tmp_path, sleep=change)
    assert path.read_bytes() == CONTENT[::-1]
    assert bucket.ranges == [None, "bytes=1000000-"]


def test_passing_errors_are_tried_again(tmp_path: Path, bucket) -> None:
    bucket.statuses = [503, 429]
    assert fetch(bucket.address(), tmp_path, sleep=no_sleep).read_bytes() == CONTENT


def test_missing_file_is_told_at_once(tmp_path: Path, bucket) -> None:
    bucket.statuses = [404]
    with pytest.raises(WeightsError, match="the server answers 404 Not Found; check that there"):
        fetch(bucket.address(), tmp_path, sleep=no_sleep)
    assert len(bucket.ranges) == 1


def test_wrong_checksum_is_refused_and_deleted(tmp_path: Path, bucket) -> None:
    bucket.honest_md5 = False
    with pytest.raises(WeightsError, match="the server announced 3000000 bytes with MD5"):
        fetch(bucket.address(), tmp_path)
    assert leftovers(tmp_path) == set()


def test_file_damaged_in_the_cache_is_found(tmp_path: Path, bucket) -> None:
    path = fetch(bucket.address(), tmp_path)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="is damaged: delete both to download it again"):
        fetch(bucket.address(), tmp_path)


def test_file_of_unknown_origin_in_the_cache_is_not_trusted(tmp_path: Path, bucket) -> None:
    (tmp_path / "weights.tar.gz").write_bytes(b"?")
    with pytest.raises(WeightsError, match="no record of its checksum"):
        fetch(bucket.address(), tmp_path)


def test_no_network_is_one_line_with_a_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(WeightsError, match=r"Connection refused\); 0 bytes .* give its path"):
        fetch("http://127.0.0.1:9/weights.tar.gz", tmp_path, sleep=no_sleep)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"cannot keep downloads .* set XDG_CACHE_HOME"):
        fetch("http://127.0.0.1:9/w.tar.gz", tmp_path / "file")


def test_cache_is_where_the_user_wants_caches(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "staged-trainer" / "weights"
