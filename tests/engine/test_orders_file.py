"""Orders in a mapped file are as those in memory, and the file is gone with them."""

from __future__ import annotations

import contextlib
import gc
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streams.checkup.machine import orders_finding
from streams.context import Context
from streams.domain import hotpath
from streams.embedded.machine import is_in_memory
from streams.errors import ExpectedError
from streams.ledger.memory import Memory
from streams.ledger.orders_file import EXTENT_BYTES, OrdersFile, orders_folder
from streams.settings import Settings
from tests.domain.facts import placed

if TYPE_CHECKING:
    from schemas.facts import Fact

_IS_LINUX = sys.platform == "linux"


def open_files(folder: Path) -> list[str]:
    """The files in a folder that this process has open, with a name or without one."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that listed them
            found.append(str(entry.readlink()))
    return [name for name in found if name.startswith(str(folder))]


def test_pieces_of_memory_are_as_large_as_asked_and_never_overlap(tmp_path: Path) -> None:
    file, dice = OrdersFile(tmp_path), random.Random(1)
    sizes = [1, 4096, EXTENT_BYTES, EXTENT_BYTES + 1, *(dice.randrange(1, EXTENT_BYTES // 3) for _ in range(20))]
    pieces = [file.room(size) for size in sizes]
    assert [len(piece) for piece in pieces] == sizes
    for number, piece in enumerate(pieces):
        piece[:1] = piece[-1:] = bytes([number])
    assert [(piece[0], piece[-1]) for piece in pieces] == [(number, number) for number in range(len(sizes))]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(bool(hotpath.WHY_PYTHON), reason=f"not compiled: {hotpath.WHY_PYTHON}")
@pytest.mark.skipif(not _IS_LINUX, reason="looks into /proc")
def test_a_partition_keeps_its_orders_there_and_they_are_the_same(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path), orders_in="file")
    in_file, in_memory = (Memory(Context(each), 0).ledger for each in (settings, Settings()))
    facts: list[Fact] = [placed(10**15 + number, f"event-{number}", order=f"SO-{number}") for number in range(40_000)]
    for ledger in (in_file, in_memory):
        for at in range(0, len(facts), 1000):
            ledger.apply([*facts[at : at + 1000], facts[at // 2]])
            ledger.drain()
    assert len(in_file) == len(facts)
    assert [(each, in_file.blob(each)) for each in in_file.order_ids()] == [
        (each, in_memory.blob(each)) for each in in_memory.order_ids()
    ]
    assert list(orders_folder(settings).iterdir()) == []
    (name,) = set(open_files(orders_folder(settings)))
    assert name.endswith("(deleted)")
    del in_file, ledger
    gc.collect()
    assert open_files(orders_folder(settings)) == []


def test_a_folder_that_cannot_be_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder is to be")
    with pytest.raises(ExpectedError, match=r"file/ledger: no file for orders can be created: .*state_dir.*orders_in"):
        Memory(Context(Settings(state_dir=str(tmp_path / "file"), orders_in="file")), 0)


@pytest.mark.skipif(not _IS_LINUX, reason="elsewhere a full disk is noticed only when a page is written")
def test_a_full_disk_is_an_error_that_says_so_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = OrdersFile(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (EXTENT_BYTES, hard))
    try:
        first = file.room(EXTENT_BYTES)
        with pytest.raises(ExpectedError, match=r"cannot grow beyond 16 MiB: File too large; free space there"):
            file.room(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    first[:] = b"\1" * EXTENT_BYTES
    assert bytes(file.room(5)) == bytes(5)


def test_doctor_says_how_many_orders_fit_and_writes_nothing(tmp_path: Path) -> None:
    assert orders_finding(Settings(state_dir=str(tmp_path))) is None
    finding = orders_finding(Settings(state_dir=str(tmp_path / "new"), orders_in="file"))
    assert finding is not None
    assert (finding.state, finding.detail.startswith(f"in a file in {tmp_path / 'new' / 'ledger'}, ")) == (
        ("note", False) if hotpath.WHY_PYTHON else ("ok", True)
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not is_in_memory(Path("/dev/shm")), reason="no file system in memory here")
def test_doctor_finds_a_file_that_is_in_memory_itself() -> None:
    finding = orders_finding(Settings(state_dir="/dev/shm/milestones-none", orders_in="file"))
    assert finding is not None
    assert hotpath.WHY_PYTHON or (finding.state == "wrong" and "tmpfs" in finding.detail)


def test_which_folders_are_in_memory_is_as_the_system_says() -> None:
    if not _IS_LINUX:
        pytest.skip("only Linux tells")
    told = subprocess.run(["stat", "-f", "-c", "%T", "/proc", "/", "/dev"], capture_output=True, text=True, check=True)
    expected = [kind in {"tmpfs", "ramfs"} for kind in told.stdout.split()]
    assert [is_in_memory(Path(name)) for name in ("/proc", "/", "/dev")] == expected
