"""Checks of this machine: whether the embedded Kafka and the service can run here."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

from streams.checkup import Finding, failed, note, ok, wrong
from streams.domain import hotpath
from streams.embedded import jars, java, machine
from streams.embedded.broker import DEFAULT_HEAP_MB, NEEDED_DISK_MB
from streams.errors import ExpectedError
from streams.ledger.orders_file import ORDER_BYTES, orders_folder
from streams.settings import state_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.settings import Settings

_PYTHON = (3, 11)
_MIB = 1024 * 1024
_BUILD_AGAIN = (
    "install milestones again with this Python, which builds it (in a checkout: pip install --no-deps --editable .), and start the "
    "workers again"
)


def machine_findings() -> Iterator[Finding]:
    """One finding per check, as soon as it is known."""
    for name, check in _CHECKS.items():
        try:
            yield check(name)
        except ExpectedError as error:
            yield failed(name, error)


def state_finding(settings: Settings) -> Finding:
    """Whether workers and the web view can keep their files here."""
    return _writable("state", state_dir(settings), "make it writable, or set state_dir to a folder that is")


def orders_finding(settings: Settings) -> Finding | None:
    """Whether there is room for the orders of a worker on disk; None if they are kept in memory."""
    if settings.orders_in == "memory":
        return None
    name, folder = "orders", orders_folder(settings)
    writable = _writable(name, folder, "make it writable, or set state_dir to a folder that is")
    if writable.state == "wrong":
        return writable
    if hotpath.WHY_PYTHON:
        return note(name, f"kept in memory, since the hot path runs in Python, {hotpath.WHY_PYTHON}")
    free_mb = machine.free_disk_mb(folder)
    told = f"in a file in {folder}, {free_mb} MiB free there: some {free_mb * _MIB // ORDER_BYTES // 1_000_000} million orders"
    if machine.is_in_memory(folder):
        cure = 'set state_dir to a folder on a disk, or orders_in = "memory"'
        return wrong(name, f"{folder} is in memory itself (tmpfs), so a file there saves none", cure)
    return ok(name, told)


def _writable(name: str, folder: Path, cure: str) -> Finding:
    """Whether files can be created in a folder, which need not exist yet; nothing is written."""
    try:
        known = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    except OSError as error:
        return wrong(name, f"{folder}: {error.strerror or error}", cure)
    if not known.is_dir():
        return wrong(name, f"{known} is not a folder", cure)
    if not os.access(known, os.W_OK | os.X_OK):
        return wrong(name, f"{known} is not writable", cure)
    return ok(name, str(folder))


def _python(name: str) -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _PYTHON:
        return ok(name, found)
    return wrong(name, found, f"install Python {_PYTHON[0]}.{_PYTHON[1]} or newer")


def _hot_path(name: str) -> Finding:
    if not hotpath.WHY_PYTHON:
        return ok(name, hotpath.HOT_PATH)
    detail = f"Python, {hotpath.WHY_PYTHON}: the results are the same, at a fraction of the speed"
    if not hotpath.IS_UNUSABLE:
        return note(name, detail)
    return wrong(name, detail, _BUILD_AGAIN)


def _java(name: str) -> Finding:
    return ok(name, java.java_version())


def _jars(name: str) -> Finding:
    missing = jars.missing_jars()
    if not missing:
        jars.ensure_jars(lambda _line: None)  # nothing to fetch: this verifies them
        return ok(
            name, f"Apache Kafka {jars.KAFKA_VERSION}, {len(jars.locked_jars())} jars verified in {jars.jars_dir()}"
        )
    jars.refuse_unreachable(missing[0])
    size_mib = sum(jar.size for jar in missing) // _MIB + 1
    return ok(name, f"{len(missing)} to be fetched at the first start ({size_mib} MiB) from {jars.repository()}")


def _cache(name: str) -> Finding:
    return _writable(name, machine.cache_root(), "make it writable, or set XDG_CACHE_HOME to a folder that is")


def _memory(name: str) -> Finding:
    available_mb = machine.available_memory_mb()
    if available_mb is None:
        return note(name, "this system does not tell how much memory is available")
    machine.refuse_short_memory(DEFAULT_HEAP_MB)
    return ok(name, f"{available_mb} MiB available")


def _disk(name: str) -> Finding:
    folder = Path(tempfile.gettempdir())
    machine.refuse_full_disk(folder, NEEDED_DISK_MB, "the embedded Kafka")
    return ok(name, f"{machine.free_disk_mb(folder)} MiB free in {folder}")


def _ports(name: str) -> Finding:
    return ok(name, f"{machine.LOOPBACK}:{machine.free_port()} is free, for one")


def _time_zones(name: str) -> Finding:
    """Checks time zone data: Shanghai has had one offset since 1991, so any other means that the data are broken."""
    cure = "install the package tzdata (pip install tzdata)"
    try:
        offset = datetime(2024, 10, 7, tzinfo=UTC).astimezone(ZoneInfo("Asia/Shanghai")).utcoffset()
    except ZoneInfoNotFoundError:
        return wrong(name, "there is no time zone data", cure)
    if offset != timedelta(hours=8):
        return wrong(name, f"Asia/Shanghai is said to be {offset} ahead of UTC, which is wrong", cure)
    of_system = next((path for path in TZPATH if (Path(path) / "Asia/Shanghai").exists()), None)
    return ok(name, of_system or f"package tzdata {metadata.version('tzdata')}")


_CHECKS: dict[str, Callable[[str], Finding]] = {
    "python": _python,
    "hot path": _hot_path,
    "time zones": _time_zones,
    "java": _java,
    "cache": _cache,
    "jars": _jars,
    "memory": _memory,
    "disk": _disk,
    "ports": _ports,
}
