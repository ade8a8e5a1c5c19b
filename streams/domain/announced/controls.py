"""Control totals: what other systems count in a window, and how far that is from our count."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.facts import ID_CONFLICT
from schemas.instants import utc_text
from schemas.outputs import RowControl
from schemas.rows import RowKey
from streams.domain.announced.disposition import APPLIED, DUPLICATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.events import ControlTotal
    from streams.domain.announced.disposition import Disposition


class Control(NamedTuple):
    """One total of one system.

    Attributes:
        source: The system, as the event names it.
        id: The event's own; unique within its source.
        row: (metric, scope, period) of the window.
        total: Units by that system's count.
        as_of_us: When it counted them, microseconds since 1970.
        label: For people.
    """

    source: str
    id: str
    row: RowKey
    total: int
    as_of_us: int
    label: str | None = None

    @property
    def as_of(self) -> str:
        """When the system counted, in the format of rows: UTC, with milliseconds."""
        return utc_text(self.as_of_us)


def control_of(event: ControlTotal) -> Control:
    """The total that an event brings."""
    data = event.data
    return Control(event.source, event.id, RowKey.of(data), data.count, event.time_us, data.label)


class Controls:
    """The current total of each system and window: the latest by (time, id), whatever the order of arrival."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Control] = {}
        self._current: dict[RowKey, dict[str, Control]] = {}

    def take(self, control: Control) -> Disposition:
        """Takes one total; if a (source, id) comes with several contents, the first counts."""
        known = self._seen.setdefault((control.source, control.id), control)
        if known is not control:
            return DUPLICATE if known == control else ID_CONFLICT
        by_source = self._current.setdefault(control.row, {})
        current = by_source.get(control.source)
        if current is None or (current.as_of_us, current.id) < (control.as_of_us, control.id):
            by_source[control.source] = control
        return APPLIED

    def of(self, row: RowKey) -> tuple[Control, ...]:
        """The totals of a window, in the order of their sources."""
        by_source = self._current.get(row, {})
        return tuple(by_source[source] for source in sorted(by_source))

    def rows(self) -> Iterable[RowKey]:
        """The windows that have a total."""
        return self._current.keys()


def compare(controls: Sequence[Control], count: int, published: Mapping[str, RowControl], now: str) -> list[RowControl]:
    """What a row says about the totals of other systems.

    Args:
        controls: The current totals of the window.
        count: Our count.
        published: Source → the last published comparison, which says when a difference began.
        now: The time of the new version of the row.
    """
    compared = []
    for control in controls:
        difference = count - control.total
        before = published.get(control.source)
        since = (before.differs_since if before is not None else None) or now
        compared.append(
            RowControl(
                source=control.source,
                count=control.total,
                difference=difference,
                as_of=control.as_of,
                differs_since=since if difference else None,
            )
        )
    return compared
