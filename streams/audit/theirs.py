"""Another system's list of what it has counted: order numbers or VINs, one per line or in CSV columns."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

ORDER_ID: Final = "order_id"
VIN: Final = "vin"
_NAMES: Final = {"order_id": ORDER_ID, "order": ORDER_ID, "orderid": ORDER_ID, "order_no": ORDER_ID, "vin": VIN}
_SEPARATORS: Final = ",;\t"


class Entry(NamedTuple):
    """One unit that the other system has counted: its order number, its VIN, or both.

    Without named columns an entry may be either, so both fields hold it.
    """

    order_id: str
    vin: str

    @property
    def text(self) -> str:
        """For display: the order number if there is one."""
        return self.order_id or self.vin


@dataclass(frozen=True)
class Theirs:
    """A list.

    Attributes:
        entries: Each once, in the order of the list.
        repeated: Entries that occur more than once → how often.
    """

    entries: tuple[Entry, ...]
    repeated: dict[str, int]

    @property
    def names(self) -> frozenset[str]:
        """Every order number and VIN in it."""
        return frozenset(name for entry in self.entries for name in entry if name)


def read_theirs(lines: Iterable[str]) -> Theirs:
    """Reads a list.

    If the first line names a column `order_id` or `vin`, these are read and other columns ignored; otherwise the first
    column is read as an order number or a VIN. Columns are separated by commas, semicolons or tabs. Blank lines
    and lines that begin with `#` are skipped.

    Raises:
        ValueError: A line of a list with named columns has neither an order number nor a VIN; the message has its number.
    """
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    if not kept:
        return Theirs((), {})
    first = kept[0][1]
    separator = max(_SEPARATORS, key=first.count)
    head = [
        _NAMES.get(name.strip().lower(), "") for name in next(csv.reader([first.lstrip("\ufeff")], delimiter=separator))
    ]
    columns = {name: at for at, name in reversed(list(enumerate(head))) if name}
    counted: Counter[Entry] = Counter()
    for number, line in kept[1:] if columns else kept:
        cells = [cell.strip() for cell in next(csv.reader([line.lstrip("\ufeff")], delimiter=separator))]
        counted[_entry(cells, columns, number)] += 1
    return Theirs(tuple(counted), {entry.text: times for entry, times in counted.items() if times > 1})


def _entry(cells: list[str], columns: dict[str, int], number: int) -> Entry:
    if not columns:
        return Entry(cells[0], cells[0])
    order_id, vin = (
        cells[at] if at is not None and at < len(cells) else "" for at in map(columns.get, (ORDER_ID, VIN))
    )
    if not order_id and not vin:
        raise ValueError(f"line {number} has neither an order number nor a VIN in its columns")
    return Entry(order_id, vin)
