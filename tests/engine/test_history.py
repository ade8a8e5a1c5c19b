"""Which versions of a row are written to the history, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from schemas.codec import decode_row, encode_row
from schemas.outputs import WindowRow
from streams.context import Context
from streams.domain.rows.row_columns import Columns
from streams.domain.rows.row_versions import PublishedRecord
from streams.domain.time.zone import MINUTE_US
from streams.settings import Settings
from streams.totals.history import History as TotalsHistory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.kafka.outbox import Outgoing

START_US = 1_728_000_000_000_000
SECOND_US = 1_000_000
DAY = "day:2024-10-07"


def row(version: int, *, status: str = "open", restated: int = 0, period: str = DAY) -> WindowRow:
    return WindowRow.model_validate(
        {
            "metric": "deliveries",
            "scope": "all",
            "period": period,
            "start": "2024-10-07",
            "end": "2024-10-07",
            "timezone": "Asia/Shanghai",
            "count": version,
            "targets": [],
            "status": status,
            "restated": restated,
            "version": version,
            "updated_at": "2024-10-07T13:10:44.120Z",
        }
    )


class History:
    """The history, and the rows as they are published."""

    def __init__(self) -> None:
        self.rows: dict[str, WindowRow] = {}
        #: For rows without objects, of which there are none here.
        self.columns = Columns()
        self.marked: dict[int, tuple[int, int]] = {}
        self.clock_us = START_US
        self.history = TotalsHistory(Context(Settings(), now_us=lambda: self.clock_us), self)

    def find(self, key: tuple[str, str, str]) -> int:
        return list(self.rows).index(key[2])

    def published(self, places: Iterable[int]) -> list[PublishedRecord | None]:
        rows = list(self.rows.values())
        return [PublishedRecord(b"key", encode_row(rows[place]), rows[place].version) for place in places]

    def mark(self, place: int, version: int, written_us: int) -> None:
        self.marked[place] = version, written_us

    def marked_us(self, place: int) -> int:
        return self.marked.get(place, (0, 0))[1]

    def not_in_history(self, since_us: int) -> Iterator[list[int]]:
        del since_us
        return iter(())

    def records(self, now_us: int, most: int = 1000) -> list[Outgoing]:
        self.clock_us = now_us
        return [*asyncio.run(self.history.records(now_us, most))]


@pytest.fixture
def history() -> History:
    return History()


def publish(history: History, *rows: WindowRow) -> None:
    for each in rows:
        history.rows[each.period] = each
        history.history.publish(history.find((each.metric, each.scope, each.period)), each, history.clock_us)


def versions(records: list[Outgoing]) -> list[int]:
    """The versions that are written."""
    assert {record.topic for record in records} <= {"vehicle.window-history.v1"}
    return [decode_row(record.value or b"").version for record in records]


def test_the_first_version_of_a_row_is_written_when_another_replaces_it(history: History) -> None:
    publish(history, row(1))
    assert versions(history.records(START_US + 10 * MINUTE_US)) == []
    assert versions([history.history.replace(row(1))]) == [1]


def test_a_row_that_changes_often_is_written_once_a_minute_and_its_last_version_before_a_pause(
    history: History,
) -> None:
    publish(history, row(1))
    history.records(START_US)
    publish(history, row(2), row(3))
    assert versions(history.records(START_US + MINUTE_US - 1)) == []
    publish(history, row(4))
    assert versions(history.records(START_US + MINUTE_US)) == [4]
    assert versions(history.records(START_US + 10 * MINUTE_US)) == []


def test_the_version_with_which_a_row_closes_is_written_at_once_also_within_the_minute(history: History) -> None:
    publish(history, row(1))
    history.records(START_US)
    publish(history, row(2))
    publish(history, row(3, status="closed"))
    assert versions(history.records(START_US + SECOND_US)) == [3]


def test_a_row_restated_within_the_minute_after_it_closed_waits_for_a_minute_of_its_own(history: History) -> None:
    publish(history, row(1))
    history.records(START_US)
    publish(history, row(2), row(3, status="closed"))
    history.records(START_US + 30 * SECOND_US)
    publish(history, row(4, status="closed", restated=1))
    # The minute of the version that waited before the row closed is over; that of the closed version is not.
    assert versions(history.records(START_US + MINUTE_US)) == []
    assert versions(history.records(START_US + 30 * SECOND_US + MINUTE_US)) == [4]


def test_history_that_is_loaded_into_a_closed_row_is_written_once_a_minute(history: History) -> None:
    def loaded(version: int) -> WindowRow:
        return row(version, status="closed").model_copy(update={"backfilled": version})

    publish(history, loaded(1))
    assert versions(history.records(START_US)) == []
    publish(history, loaded(2), loaded(3))
    assert versions(history.records(START_US + SECOND_US)) == []
    assert versions(history.records(START_US + MINUTE_US)) == [3]


def test_each_row_has_its_own_minute(history: History) -> None:
    publish(history, row(1))
    history.records(START_US)
    publish(history, row(2), row(7, period="month:2024-10"))
    assert versions(history.records(START_US + SECOND_US)) == [7]


def test_no_more_is_written_at_once_than_there_is_room_for(history: History) -> None:
    publish(history, *(row(2, period=f"day:2024-10-{day:02d}") for day in range(1, 8)))
    assert len(versions(history.records(START_US, 3))) == 3
    assert history.history.has_more
    assert len(versions(history.records(START_US, 100))) == 4
    assert not history.history.has_more
