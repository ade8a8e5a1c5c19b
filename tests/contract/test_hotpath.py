"""Whether the hot path is compiled; `test_fast_way.py` tests that both ways agree."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import pytest

from schemas import codec, fast, hotpath
from streams.domain import hotpath as domain_hotpath
from tests.contract.builders import FUTURE_LIMIT_US, plain_record

ROOT = Path(__file__).parents[2]
needs_extension = pytest.mark.skipif(
    importlib.util.find_spec("schemas._scanner") is None, reason="no extension was built (deploy/test builds it)"
)


def said(**variables: str) -> str:
    """What a process reports about its hot path."""
    program = "from streams.domain import hotpath as h; print(h.HOT_PATH, h.WHY_PYTHON, h.way.__name__)"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@needs_extension
def test_it_is_compiled_where_that_was_built_unless_the_environment_says_otherwise() -> None:
    assert said(MILESTONES_HOT_PATH="") == "compiled  streams.domain._steps"
    assert said(MILESTONES_HOT_PATH="python") == "python as MILESTONES_HOT_PATH says streams.domain.orders.steps"


def test_an_extension_from_another_version_of_its_source_is_not_used(tmp_path: Path) -> None:
    module = ModuleType("schemas._scanner")
    module.__file__ = str(tmp_path / "_scanner.so")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    vars(module)["SOURCE"] = digest
    assert hotpath.is_current(module), "installed without its source"
    (tmp_path / "_scanner.pyx").write_text("abc")
    assert hotpath.is_current(module)
    (tmp_path / "_scanner.pyx").write_text("abd")
    assert not hotpath.is_current(module)


@needs_extension
@pytest.mark.parametrize("name", ["schemas._scanner", "streams.domain._steps"])
def test_what_a_source_includes_is_part_of_it(name: str, tmp_path: Path) -> None:
    built = importlib.import_module(name)
    module = ModuleType(name)
    included = ("schemas/_packed.pxi", "streams/domain/_json.pxi")
    for source in (*included, "schemas/_scanner.pyx", "streams/domain/_steps.pyx"):
        place = tmp_path / source
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((ROOT / source).read_bytes())
    module.__file__ = str(tmp_path / Path(built.__file__ or "").relative_to(ROOT))
    vars(module)["SOURCE"] = built.SOURCE
    assert hotpath.is_current(module)
    with (tmp_path / "schemas/_packed.pxi").open("a") as file:
        file.write("# changed\n")
    assert not hotpath.is_current(module)


def test_the_codec_takes_the_way_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def watched(records: object, **options: object) -> object:
        taken.append(1)
        return fast.plain_facts(records, **options)  # type: ignore[arg-type] # whatever the codec gives

    monkeypatch.setattr(hotpath, "plain_facts", watched)
    codec.decode_batch([plain_record("order.placed.v1")], topic=0, future_limit_us=FUTURE_LIMIT_US)
    assert taken == [1]


@pytest.mark.parametrize(
    ("built", "why"),
    [
        ([], hotpath.NOT_BUILT),
        (["_other.cpython-311-x86_64-linux-gnu.so", "_made.pyx"], hotpath.NOT_BUILT),
        (
            ["_made.cpython-39-x86_64-linux-gnu.so"],
            "the extension was built for another Python: _made.cpython-39-x86_64-linux-gnu.so, where this one takes _made{}",
        ),
        (
            ["_made.cp39-win_amd64.pyd"],
            "the extension was built for another Python: _made.cp39-win_amd64.pyd, where this one takes _made{}",
        ),
        (["_made{}"], "the extension _made{} cannot be loaded"),
    ],
)
def test_why_a_compiled_module_is_not_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[str], why: str
) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in built:
        (package / name.format(EXTENSION_SUFFIXES[0])).write_bytes(b"of another machine")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(hotpath.VARIABLE, raising=False)
    try:
        assert hotpath.extension("some_package._made") == (None, why.format(EXTENSION_SUFFIXES[0]))
    finally:
        sys.modules.pop("some_package", None)


def test_only_modules_that_were_built_and_cannot_be_used_are_a_fault() -> None:
    assert (domain_hotpath.WHY_PYTHON not in ("", hotpath.AS_CHOSEN, hotpath.NOT_BUILT)) == domain_hotpath.IS_UNUSABLE
