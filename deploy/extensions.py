"""Compiles the hot path when the package is built: a hook of hatchling.

Cython makes C of each `.pyx`; the machine's C compiler compiles it (`CC` names one), or the one in the package `ziglang`.
A checkout that is installed editable gets the modules next to their sources, a wheel has them inside. Where this fails
the package is built without them and runs in Python alone, and `build/extensions.log` has the reason in one line.

Environment of a build:
    MILESTONES_EXTENSIONS    `required` lets a build fail that cannot compile them
    MILESTONES_WHEEL_FOR     a machine, `x86_64` or `aarch64`: compiled for Linux with glibc 2.28 or newer, whatever machine this is
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("schemas/_scanner.pyx", "streams/domain/_steps.pyx", "streams/domain/_rows.pyx")
GLIBC = (2, 28)
OPTIONS = ("-O2", "-fPIC", "-shared", "-g0", "-fwrapv", "-Wno-unreachable-code", "-Wno-unused-function")


class ExtensionsError(Exception):
    """Why the modules cannot be compiled, in one line."""


class ExtensionsHook(BuildHookInterface):
    """Adds the compiled modules to a wheel, or to the checkout that is installed editable."""

    PLUGIN_NAME = "custom"
    _scratch: Path | None = None

    def dependencies(self) -> list[str]:
        """What a build in an isolated environment needs besides: a compiler where the machine has none."""
        return [] if system_compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the modules."""
        root = Path(self.root)
        log = root / "build" / "extensions.log"
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        machine = os.environ.get("MILESTONES_WHEEL_FOR", "")
        try:
            if version == "editable":
                build_all({root / source: root / source_folder(source) for source in SOURCES})
                return
            self._scratch = into = Path(tempfile.mkdtemp(dir=log.parent))
            for source, made in zip(
                SOURCES, build_all({root / source: into for source in SOURCES}, machine), strict=True
            ):
                build_data["force_include"][str(made)] = f"{source_folder(source)}/{made.name}"
        except ExtensionsError as error:
            if machine or os.environ.get("MILESTONES_EXTENSIONS") == "required":
                raise
            log.write_text(f"{error}\n", encoding="utf-8")
            self.app.display_warning(f"without compiled modules: {error}")
            return
        build_data["pure_python"] = False
        if machine:
            python = f"cp{sys.version_info.major}{sys.version_info.minor}"
            build_data["tag"] = f"{python}-{python}-manylinux_{GLIBC[0]}_{GLIBC[1]}_{machine}"
        else:
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling calls it
        """Removes what the wheel now has."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch)


def source_folder(source: str) -> str:
    """The folder of a source, below the top."""
    return str(Path(source).parent)


def source_text(source: Path) -> bytes:
    """A source and the files that it includes, one after the other; as `schemas.hotpath` reads them."""
    text = source.read_bytes()
    included = re.findall(rb'^include "(.+)"$', text, re.MULTILINE)
    return text + b"".join((source.parent / each.decode()).read_bytes() for each in included)


def system_compiler() -> list[str]:
    """The command of the machine's C compiler, empty if it has none."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    return next(([found] for found in map(shutil.which, ("cc", "gcc", "clang")) if found), [])


def compiler(machine: str) -> list[str]:
    """The command that compiles, for another machine if one is named.

    Raises:
        ExtensionsError: There is none.
    """
    own = [] if machine else system_compiler()
    if own:
        return own
    if find_spec("ziglang") is None:
        raise ExtensionsError("there is no C compiler here: neither cc, gcc or clang nor the package ziglang")
    target = ["-target", f"{machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"] if machine else []
    return [sys.executable, "-m", "ziglang", "cc", *target]


def build_all(places: dict[Path, Path], machine: str = "", options: tuple[str, ...] = OPTIONS) -> list[Path]:
    """Compiles sources, all at once. Returns the modules' files.

    Args:
        places: Each `.pyx` and the folder of its module.
        machine: `x86_64` or `aarch64` for Linux there, "" for this machine.
        options: Of the C compiler.

    Raises:
        ExtensionsError: That does not work here.
    """
    # Before anything is translated, which takes seconds.
    with tempfile.TemporaryDirectory() as scratch:
        run([*compiler(machine), "--version"], scratch)
    # Before threads start: while one asks for the first time, another is told that there is none.
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    if machine:
        suffix = f".cpython-{sys.version_info.major}{sys.version_info.minor}-{machine}-linux-gnu.so"
    modules = {source: into / f"{source.stem}{suffix}" for source, into in places.items()}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        return list(pool.map(lambda module: _build(*module, machine, options, scratch), modules.items()))


def _build(source: Path, made: Path, machine: str, options: tuple[str, ...], scratch: str) -> Path:
    headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    if not any(Path(folder, "Python.h").exists() for folder in headers):
        raise ExtensionsError(f"Python's headers are missing, there is no {sysconfig.get_path('include')}/Python.h")
    command = compiler(machine)
    if sys.platform == "darwin":
        options = (*options, "-undefined", "dynamic_lookup")
    code, fresh = Path(scratch, f"{source.stem}.c"), Path(scratch, made.name)
    run([sys.executable, "-m", "cython", "-3", str(source), "-o", str(code)], scratch)
    digest = hashlib.sha256(source_text(source)).hexdigest()
    includes = [f"-I{each}" for each in sorted(headers)]
    run([*command, *options, *includes, f'-DMILESTONES_SOURCE="{digest}"', str(code), "-o", str(fresh)], scratch)
    # Replaced atomically: a process may have the old one loaded.
    beside = made.with_suffix(".new")
    shutil.copy(fresh, beside)
    beside.replace(made)
    return made


def run(command: list[str], scratch: str) -> None:
    """Runs a step.

    Raises:
        ExtensionsError: It fails.
    """
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        raise ExtensionsError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
        raise ExtensionsError(f"{Path(command[0]).name} has failed: {said}")
