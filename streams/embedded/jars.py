"""The jars of Apache Kafka: pinned by a checked-in lock, fetched once, verified by SHA-256 at every use.

Verifying all of them takes about a tenth of a second, so there is no stamp that could go stale: what is put on the class path is
byte for byte what the lock names.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from streams.embedded.machine import cache_root, refuse_full_disk
from streams.errors import ExpectedError

#: A folder that holds all the jars, for machines that cannot fetch them.
JARS_VARIABLE = "MILESTONES_JARS"
#: A Maven repository (URL or folder) to fetch from instead of Maven Central.
REPOSITORY_VARIABLE = "MILESTONES_MAVEN_REPOSITORY"

KAFKA_VERSION = "4.4.0"

_FETCHERS = 4
_FETCH_TIMEOUT_S = 30
_MIB = 1024 * 1024

Advance = Callable[[int], None]  # called with the number of bytes received since the last call


class _CancelledError(Exception):
    """Ends the downloads still running when another one has failed or the user has interrupted."""


@dataclass(frozen=True)
class Jar:
    """One line of the lock; `size` in bytes."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def coordinate(self) -> str:
        """Its Maven coordinates, `groupId:artifactId:version`."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Its file name in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"

    def matches(self, path: Path) -> bool:
        """Whether the file is byte for byte the jar that the lock names."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def locked_jars() -> tuple[Jar, ...]:
    """The lock, in its order."""
    return read_lock((resources.files("streams") / "data" / "kafka-jars.lock").read_text(encoding="ascii"))


def read_lock(text: str) -> tuple[Jar, ...]:
    """The jars of a lock, in its order."""
    return tuple(_parse(line) for line in text.splitlines() if line and not line.startswith("#"))


def _parse(line: str) -> Jar:
    coordinate, sha256, size = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256, int(size))


def jars_dir() -> Path:
    """The folder of the jars: the one that was set, else one in the user's cache."""
    given = os.environ.get(JARS_VARIABLE)
    return Path(given).expanduser() if given else cache_root() / "jars"


def missing_jars(jars: Sequence[Jar] | None = None) -> tuple[Jar, ...]:
    """The jars of the lock, or of those given, that are not in `jars_dir()`."""
    folder = jars_dir()
    return tuple(jar for jar in (locked_jars() if jars is None else jars) if not (folder / jar.file_name).is_file())


def repository() -> str:
    """The Maven repository to fetch from, as shown in messages: without user name and password."""
    parts = urlsplit(_repository())
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else _repository()


def _repository() -> str:
    return os.environ.get(REPOSITORY_VARIABLE) or _maven_central()


def _maven_central() -> str:
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - jgo takes long to import and is rarely needed

    return str(MAVEN_CENTRAL_URL)


def ensure_jars(say: Callable[[str], None], jars: Sequence[Jar] | None = None) -> list[Path]:
    """The jars for the class path, in the order of the lock; missing ones are fetched.

    Args:
        say: Called with one line before anything slow.
        jars: The jars of another lock.

    Raises:
        ExpectedError: A jar is not what the lock names, cannot be fetched or cannot be stored.
    """
    wanted = locked_jars() if jars is None else jars
    if missing_jars(wanted):
        if os.environ.get(JARS_VARIABLE):
            raise _incomplete_folder(wanted)
        _fetch_missing(say, wanted)
    folder = jars_dir()
    for jar in wanted:
        if not jar.matches(folder / jar.file_name):
            raise ExpectedError(
                f"{folder / jar.file_name} is not the {jar.coordinate} that the lock names (its SHA-256 differs); "
                f"remove the file{'' if os.environ.get(JARS_VARIABLE) else ', it is downloaded again at the next start'}"
            )
    return [folder / jar.file_name for jar in wanted]


def _incomplete_folder(wanted: Sequence[Jar]) -> ExpectedError:
    missing = missing_jars(wanted)
    return ExpectedError(
        f"{JARS_VARIABLE}={jars_dir()} lacks {len(missing)} of {len(wanted)} jars, {missing[0].file_name} "
        f"among them; add them or unset {JARS_VARIABLE} to have them fetched"
    )


def _fetch_missing(say: Callable[[str], None], wanted: Sequence[Jar]) -> None:
    folder = jars_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _sole_fetcher(folder, say):
            missing = missing_jars(wanted)  # none if another process has fetched them while this one waited
            if missing:
                size_mib = sum(jar.size for jar in missing) // _MIB + 1
                refuse_full_disk(folder, 2 * size_mib, "fetching Apache Kafka")
                say(f"fetching Apache Kafka {KAFKA_VERSION} ({len(missing)} jars, {size_mib} MiB) from {repository()}")
                _fetch(missing, folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "free some space" if full else "make it writable"
        raise ExpectedError(
            f"{folder}: cannot store the jars of Apache Kafka: {error.strerror or error}; "
            f"{cure}, or set XDG_CACHE_HOME to a folder that is"
        ) from None


@contextmanager
def _sole_fetcher(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lets one process fetch while others wait; removes what a killed one left half-fetched."""
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that is fetching Apache Kafka")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(".fetch-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _fetch(jars: Sequence[Jar], folder: Path) -> None:
    """Downloads in parallel; the first failure ends the rest."""
    cancelled = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch,
        _progress(sum(jar.size for jar in jars)) as advance,
        ThreadPoolExecutor(_FETCHERS) as pool,
    ):

        def fetch(jar: Jar) -> None:
            if not cancelled.is_set():
                _fetch_one(jar, folder, Path(scratch), lambda count: _advance(advance, count, cancelled))

        # Largest first, so that no large download is left for the end.
        futures = [pool.submit(fetch, jar) for jar in sorted(jars, key=lambda jar: -jar.size)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            cancelled.set()
            raise


def _advance(advance: Advance, count: int, cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise _CancelledError
    advance(count)


def _fetch_one(jar: Jar, folder: Path, scratch: Path, advance: Advance) -> None:
    path = _resolve(jar, scratch, advance)
    if not jar.matches(path):
        raise ExpectedError(
            f"what {repository()} gave for {jar.coordinate} is not what the lock names (its SHA-256 differs); "
            f"name a repository that does not alter files with {REPOSITORY_VARIABLE}, or a folder of jars with "
            f"{JARS_VARIABLE}"
        )
    # If the repository is a folder, the file must be copied, not moved out of it.
    if not path.is_relative_to(scratch):
        path = Path(shutil.copy(path, scratch / jar.file_name))
    path.replace(folder / jar.file_name)


def _resolve(jar: Jar, scratch: Path, advance: Advance) -> Path:
    """Gets the jar from the repository with jgo.

    Raises:
        ExpectedError: The repository is unreachable or has no such file.
    """
    import requests  # noqa: PLC0415 - takes long to import and is rarely needed
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - likewise

    # jgo warns about differing SHA-1 sums; here the SHA-256 of the lock decides.
    logging.getLogger("jgo").setLevel(logging.ERROR)

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Advance]:
        yield advance

    source = _repository().removeprefix("file://")
    local = Path(source).is_dir()
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=scratch / jar.file_name.removesuffix(".jar"),
        local_repos=[Path(source)] if local else [],
        remote_repos={} if local else {"remote": source.rstrip("/")},
        timeout=_FETCH_TIMEOUT_S,
    )
    try:
        return Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
    except requests.RequestException as error:
        reason = _reason(error)
    except RuntimeError:
        reason = "it has no such file"
    raise _cannot_fetch(jar, reason)


def refuse_unreachable(jar: Jar, timeout_s: float = 10.0) -> None:
    """Asks the repository whether it has a jar, without fetching it.

    Raises:
        ExpectedError: It cannot be reached or has no such file; or there is nothing to ask, because a folder of jars was set.
    """
    import requests  # noqa: PLC0415 - takes long to import and is rarely needed

    if os.environ.get(JARS_VARIABLE):
        raise _incomplete_folder(locked_jars())
    path = "/".join((*jar.group.split("."), jar.artifact, jar.version, jar.file_name))
    source = _repository().removeprefix("file://").rstrip("/")
    if Path(source).is_dir():
        if not Path(source, path).is_file():
            raise _cannot_fetch(jar, "it has no such file")
        return
    try:
        response = requests.head(f"{source}/{path}", timeout=timeout_s, allow_redirects=True)
    except requests.RequestException as error:
        raise _cannot_fetch(jar, _reason(error)) from None
    if not response.ok:
        raise _cannot_fetch(jar, f"it answers with HTTP {response.status_code}")


def _cannot_fetch(jar: Jar, reason: str) -> ExpectedError:
    return ExpectedError(
        f"cannot fetch {jar.coordinate} from {repository()}: {reason}; check the network (HTTPS_PROXY is heeded), "
        f"or set {REPOSITORY_VARIABLE} to a mirror or {JARS_VARIABLE} to a folder with the jars"
    )


def _reason(error: Exception) -> str:
    from requests import exceptions  # noqa: PLC0415 - loaded already where this is called

    if isinstance(error, exceptions.ConnectionError | exceptions.Timeout):
        return "it cannot be reached"
    if isinstance(error, ValueError):  # requests' family of errors for invalid URLs
        return "that is neither a URL nor a folder"
    return f"the download broke off ({type(error).__name__})"


def _progress(total: int) -> AbstractContextManager[Advance]:
    """A progress bar on a terminal; nothing if stderr is a pipe or a file."""
    return _bar(total) if sys.stderr.isatty() else contextlib.nullcontext(lambda _count: None)


@contextmanager
def _bar(total: int) -> Iterator[Advance]:
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn  # noqa: PLC0415 - likewise

    columns = (TextColumn(f"Apache Kafka {KAFKA_VERSION}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)
