"""One window row during a step: what it counts now, and what its last published version said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.rows import PublishedRow, RowKey

if TYPE_CHECKING:
    from schemas.facts import RowMetric
    from schemas.outputs import WindowStatus
    from streams.domain.announced.controls import Control
    from streams.domain.rules import Target
    from streams.domain.time.periods import Ordering, Period


class RowPublisher(Protocol):
    """The table that a row belongs to."""

    def publish(self, row: Row, timezone: str, updated_at: str) -> PublishedRow | None:
        """The next version of a row, or None if it equals the published one or has never held anything."""


class Row:
    """One window of one metric and scope during a step: its current and its last published state.

    The published state is the one before the step, which milestones are compared with; `publish` ends the step for this row.
    """

    __slots__ = (
        "_windows",
        "backfilled",
        "balance",
        "begun_with",
        "controls",
        "count",
        "grew",
        "is_added",
        "key",
        "metric",
        "period",
        "place",
        "published_backfilled",
        "published_balance",
        "published_count",
        "published_status",
        "scope",
        "status",
        "targets",
    )

    def __init__(
        self, metric: RowMetric, scope: str, period: Period, windows: RowPublisher | None = None, place: int = -1
    ) -> None:
        self.key = RowKey(metric, scope, period.id)
        self.metric = metric
        self.scope = scope
        self.period = period
        self._windows = windows
        #: Its place in the columns.
        self.place = place
        self.count = 0
        self.backfilled = 0
        #: For a rolling window: units, and those loaded as history, of its days before the last one. For a row that is added: those
        #: that were counted before it was.
        self.begun_with = 0, 0
        #: Whether units of it were counted before it had a row: its window, campaign or scope has only become known with this step.
        self.is_added = False
        #: The part of the count that is an opening balance.
        self.balance = 0
        self.targets: tuple[Target, ...] = ()
        self.controls: tuple[Control, ...] = ()
        self.status: WindowStatus = "open"
        self.published_count = 0
        self.published_backfilled = 0
        self.published_balance = 0
        self.published_status: WindowStatus | None = None
        #: Whether a day in it grew in this step.
        self.grew = False

    @property
    def ordering(self) -> Ordering:
        """Sort key: periods of one window in order of time."""
        return self.period.ordering

    @property
    def is_over(self) -> bool:
        """Whether the period has ended and everything from before its end has been read."""
        return self.status != "open"

    @property
    def was_over(self) -> bool:
        """Whether that was already so before this step; for a row that is added, whether it is."""
        return self.published_status not in (None, "open") or (self.is_added and self.is_over)

    @property
    def earlier_count(self) -> int:
        """The count before this step, published or, for a row that is added, not."""
        return self.begun_with[0] if self.is_added else self.published_count

    @property
    def only_met(self) -> bool:
        """Whether it is added, and all its units were counted before."""
        return self.is_added and self.count <= self.begun_with[0]

    @property
    def known_count(self) -> int:
        """The count that is no news: the published one, plus the opening balance if it is the first.

        In a rolling window, the days before its last one are no news either, nor is what a row that is added begins with.
        """
        return max(self._published_with_balance, self.begun_with[0] + (self.balance if self.is_added else 0))

    @property
    def _published_with_balance(self) -> int:
        return self.published_count + (self.balance if not self.published_balance else 0)

    @property
    def only_backfilled(self) -> bool:
        """Whether, in the end, this step added nothing but backfill."""
        before, loaded = self._published_with_balance, self.published_backfilled
        if self.published_status is None:
            before, loaded = before + self.begun_with[0], self.begun_with[1]
        return 0 < self.backfilled - loaded >= self.count - before

    @property
    def is_balance_corrected(self) -> bool:
        """Whether a published opening balance has changed."""
        return bool(self.published_balance) and self.balance != self.published_balance

    def publish(self, timezone: str, updated_at: str) -> PublishedRow | None:
        """Ends the step: the next version, or None if it equals the published one or has never held anything."""
        if self._windows is None:
            raise RuntimeError(f"{self.key} belongs to no table")
        return self._windows.publish(self, timezone, updated_at)
