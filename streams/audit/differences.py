"""The differences from another system's list, as a file that people can work with."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.audit.report import describe_event, place_text
from streams.spreadsheets import defused, workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streams.audit.foreign_list import Theirs
    from streams.audit.reconciling import Match, Recounted

HEAD: Final = ("order", "VIN", "side", "date here", "date there", "reason", "coordinates")


class ListDifference(NamedTuple):
    """A line; `side` is `here` or `there`: the side that counts the unit, which the other lacks."""

    order_id: str
    vin: str
    side: str
    date_here: str
    date_there: str
    reason: str
    coordinates: str


def differences(found: Recounted, theirs: Theirs, matched: Match) -> list[ListDifference]:
    """What is only here, only there, repeated there, or unreadable there."""
    lines = []
    for unit in matched.only_ours:
        described = describe_event(unit, found.business, found.names)
        day = str(found.business.local(unit.time_us).date())
        lines.append(ListDifference(unit.order_id, unit.vin, "here", day, "", "not in the list", place_text(described)))
    for entry, why in matched.only_theirs:
        vin = entry.vin if entry.vin != entry.order_id else ""
        lines.append(ListDifference(entry.order_id, vin, "there", "", theirs.dates.get(entry, ""), why, ""))
    lines += [
        ListDifference(text, "", "there", "", "", f"{times} times in the list", "")
        for text, times in matched.repeated.items()
    ]
    lines += [
        ListDifference(text, "", "there", "", "", f"row {row}: a number that Excel has shortened", "")
        for row, text in matched.damaged.items()
    ]
    return lines


def _write_csv(path: Path, lines: Sequence[ListDifference]) -> None:
    # With a byte order mark, without which Excel does not recognise UTF-8.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        writer.writerows([defused(cell) for cell in line] for line in lines)


def _write_workbook(path: Path, lines: Sequence[ListDifference]) -> None:
    rows = [HEAD, *([defused(cell) for cell in line] for line in lines)]
    path.write_bytes(workbook(rows, name="differences", widths=(26, 22, 8, 12, 14, 60, 34)))


#: File extension → how such a file is written.
WRITERS: Final[dict[str, Callable[[Path, Sequence[ListDifference]], None]]] = {
    ".csv": _write_csv,
    ".xlsx": _write_workbook,
}
