"""An interrupted load continues where it stopped: with a publisher that fails, without Kafka."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any, Self

import pytest
from click.testing import CliRunner

import streams.cli.publish
from streams.errors import ExpectedError
from streams.operations.load_progress import LoadJournal, LoadNote
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streams.kafka.publication import Publication

EVENTS = 12_000
_MAPPING = """
type = "order.placed.v1"
source = "/files/orders"
timezone = "Asia/Shanghai"
[columns]
order_id = "order"
time = "placed"
[constants]
model = "SU7"
"""


class BrokenPublisher:
    """A publisher that fails after a number of records."""

    most = 1 << 60
    published: list[bytes | None] = []  # noqa: RUF012 - of all of them

    def __init__(self, *_: Any) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, records: Sequence[Publication]) -> None:
        if len(self.published) >= type(self).most:
            raise ExpectedError("Kafka did not take the records", exit_code=3)
        self.published.extend(record.key for record in records)

    async def flush(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    BrokenPublisher.published, BrokenPublisher.most = [], 1 << 60
    monkeypatch.setattr(streams.cli.publish, "Publisher", BrokenPublisher)
    # When the command fails it leaves its loop open, as the process ends; a test continues.
    monkeypatch.setattr(streams.cli.publish, "run", lambda _settings, work: asyncio.run(work))
    monkeypatch.setenv("MILESTONES_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def lines() -> bytes:
    events = [
        {
            "specversion": "1.0", "id": str(number), "source": "/s", "type": "order.placed.v1",
            "time": "2024-10-07T14:03:11+08:00" if number else "2024-10-07",
            "data": {"order_id": f"SO-{number}", "model": "SU7", "more": "." * 200},
        }
        for number in range(EVENTS)
    ]  # fmt: skip
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def publish(*arguments: str) -> tuple[Any, str]:
    result = CliRunner().invoke(streams.cli.publish.command, list(arguments))
    return result.exception, result.stderr


@pytest.mark.parametrize("form", ["lines", "array", "gzip", "table"])
def test_what_was_published_before_an_interruption_is_not_published_again(tmp_path: Path, form: str) -> None:
    text = lines()
    more: tuple[str, ...] = ()
    if form == "array":
        text = b"[" + text.strip().replace(b"\n", b",") + b"]"
    elif form == "gzip":
        text = gzip.compress(text, 1)
    elif form == "table":
        (tmp_path / "map.toml").write_text(_MAPPING)
        text = b"order,placed\nSO-0,\n" + b"".join(b"SO-%d,2024-10-07 14:03\n" % n for n in range(1, EVENTS))
        more = ("--map", "map.toml")
    (tmp_path / "file").write_bytes(text)
    BrokenPublisher.most = 1
    error, _ = publish("file", *more)
    assert "did not take" in str(error)
    begun = len(BrokenPublisher.published)
    assert 0 < begun < EVENTS
    BrokenPublisher.most = 1 << 60
    error, told = publish("file", *more)
    # The first event is invalid, and the summary of the whole load reports it.
    assert "1 of" in str(error)
    assert "of an interrupted load" in told
    assert BrokenPublisher.published == [b"SO-%d" % number for number in range(1, EVENTS)]
    # The load is complete, so the next run is a new one.
    error, told = publish("file", *more)
    assert "interrupted" not in told
    assert len(BrokenPublisher.published) == 2 * (EVENTS - 1)


def test_from_the_start_forgets_the_interruption_and_another_file_knows_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(lines())
    BrokenPublisher.most = 1
    publish("file")
    BrokenPublisher.published, BrokenPublisher.most = [], 1 << 60
    publish("file", "--from-start")
    assert len(BrokenPublisher.published) == EVENTS - 1
    (tmp_path / "other").write_bytes(lines() + b"\n")
    _, told = publish("other")
    assert "interrupted" not in told


def test_a_note_that_is_damaged_or_cannot_be_written_is_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    journal = LoadJournal(Settings(state_dir=str(tmp_path / "state")), tmp_path / "file", [])
    assert journal.read() == LoadNote()
    journal.write(LoadNote(3, 2, 1))
    assert journal.read() == LoadNote(3, 2, 1)
    (note,) = (tmp_path / "state/loads").iterdir()
    note.write_text("{")
    assert journal.read() == LoadNote()
    (tmp_path / "flat").write_text("")
    LoadJournal(Settings(state_dir=str(tmp_path / "flat")), tmp_path / "file", []).write(LoadNote(1))
