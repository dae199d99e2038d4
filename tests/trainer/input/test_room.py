"""Room for decoded photos: within the limits of a container, shared with workers beside us."""

import json
from pathlib import Path

import psutil
import pytest

from trainer.errors import DataError
from trainer.input.room import (
    choose_cache,
    free_memory,
    is_in_memory,
    require_room,
    workers_here,
)

GIB = 2**30


def write_group(folder: Path, limit: str, used: int, idle: int, version: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {idle}\n")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with 100 GiB free."""
    memory = type("memory", (), {"available": 100 * GIB})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.usefixtures("machine")
class TestFreeMemory:
    def of(self, tmp_path: Path, own: str) -> float:
        (tmp_path / "own").write_text(own)
        return free_memory(tmp_path / "own", tmp_path) / GIB

    def test_the_limit_of_a_container_counts(self, tmp_path: Path) -> None:
        write_group(tmp_path, str(8 * GIB), 3 * GIB, 1 * GIB, version=2)
        assert self.of(tmp_path, "0::/\n") == 6

    def test_older_control_groups_count_too(self, tmp_path: Path) -> None:
        write_group(tmp_path / "memory", str(8 * GIB), 3 * GIB, 1 * GIB, version=1)
        own = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n"
        assert self.of(tmp_path, own) == 6

    def test_the_tightest_of_nested_groups_counts(self, tmp_path: Path) -> None:
        write_group(tmp_path / "a" / "b", str(50 * GIB), 0, 0, version=2)
        write_group(tmp_path / "a", str(20 * GIB), 5 * GIB, 0, version=2)
        assert self.of(tmp_path, "0::/a/b\n") == 15

    def test_without_a_limit_it_is_what_the_machine_has(self, tmp_path: Path) -> None:
        write_group(tmp_path, "max", 3 * GIB, 0, version=2)
        assert self.of(tmp_path, "0::/\n") == 100

    def test_a_system_without_control_groups_has_no_limit(self, tmp_path: Path) -> None:
        assert free_memory(tmp_path / "nothing", tmp_path) == 100 * GIB

    def test_a_limit_that_is_used_up_leaves_nothing(self, tmp_path: Path) -> None:
        write_group(tmp_path, str(GIB), 2 * GIB, 0, version=2)
        assert self.of(tmp_path, "0::/\n") == 0


def cluster(*addresses: str, index: int = 0) -> dict[str, str]:
    task = {"type": "worker", "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}


def test_workers_of_one_machine_share_it() -> None:
    assert workers_here(cluster("localhost:1", "localhost:2", "localhost:3")) == 3
    assert workers_here(cluster("10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:2", index=1)) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cluster": {}}', '{"task": 3}'])
def test_without_a_cluster_there_is_one(text: str) -> None:
    assert workers_here({"TF_CONFIG": text}) == 1
    assert workers_here({}) == 1


def test_auto_keeps_in_memory_only_what_fits() -> None:
    assert choose_cache("auto", 1000) == "memory"
    assert choose_cache("auto", 1000, memory=1900, disk=1300) == "disk"
    assert choose_cache("auto", 1000, memory=1900, disk=1200) == "none"
    assert choose_cache("none", 1000) == "none"


def test_workers_of_one_machine_do_not_all_take_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.input.room.free_memory", lambda: 4000)
    monkeypatch.setattr("trainer.input.room.free_disk", lambda: 4000)
    monkeypatch.setattr("trainer.input.room.is_in_memory", lambda: False)
    chosen = []
    for num_workers in (1, 2, 3, 4):
        monkeypatch.setattr("trainer.input.room.workers_here", lambda num=num_workers: num)
        chosen.append(choose_cache("auto", 1000))
    assert chosen == ["memory", "memory", "disk", "none"]


MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/large ext4 rw 0 0
ramfs /with\\040space ramfs rw 0 0
tmpfs /over tmpfs rw 0 0
/dev/vdc /over xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/var/tmp", False),
        ("/tmp", True),
        ("/tmp/pytest/one", True),
        ("/tmp/large/one", False),
        ("/tmpfoo", False),
        ("/with space/one", True),
        ("/over/one", False),
    ],
)
def test_the_nearest_mount_says_whether_a_folder_is_memory(
    folder: str, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert is_in_memory(folder, tmp_path / "mounts") is expected


def test_a_system_without_a_list_of_mounts_has_disks(tmp_path: Path) -> None:
    assert not is_in_memory("/tmp", tmp_path / "nothing")


def test_auto_takes_no_memory_for_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.input.room.free_disk", lambda: 10**6)
    monkeypatch.setattr("trainer.input.room.is_in_memory", lambda: True)
    assert choose_cache("auto", 1000, memory=1900) == "none"
    assert choose_cache("disk", 1000, memory=1900) == "disk"
    require_room("disk", 1000)


def test_a_disk_without_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.input.room.free_disk", lambda: 2**20)
    require_room("disk", 2**20)
    require_room("memory", 2**30)
    with pytest.raises(DataError, match=r"has 0\.0 GiB free for them; .* set TMPDIR"):
        require_room("disk", 2**20 + 1)
    # Each worker of this machine decodes nearly all photos into a file of its own.
    monkeypatch.setattr("trainer.input.room.workers_here", lambda: 2)
    with pytest.raises(DataError):
        require_room("disk", 2**20)
