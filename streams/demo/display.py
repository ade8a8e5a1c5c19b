"""Shows the demo's progress: a live line on a terminal, one line per month elsewhere. All on stderr; results are on stdout."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.story.nights import Night
from streams.wording.headline import headline

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

    from schemas.outputs import MilestoneEvent
    from streams.demo.following import Seen
    from streams.demo.playing import Playing
    from streams.story import Story


class Display:
    """Shows the progress of the story; a context manager.

    Args:
        story: The story being told.
        playing: How far it has been published.
        seen: What the service has published.
        language: The language in which to print each milestone event as it is read; `None` prints none.
    """

    def __init__(self, story: Story | Night, playing: Playing, seen: Seen, language: str | None) -> None:
        self._story = story
        self._playing = playing
        self._seen = seen
        self._language = language
        self._offset = timedelta(seconds=story.facts.utc_offset_s())
        self._month = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if console.is_terminal:
            self._live = Live(
                console=console,
                get_renderable=self._table,
                refresh_per_second=8,
                # Results on the same terminal must not run into the live part; in a pipe they stay on stdout.
                redirect_stdout=sys.stdout.isatty(),
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def raised(self, event: MilestoneEvent) -> None:
        """Called when a milestone event has been read."""
        if self._language is not None:
            # The reader of a pipe may be gone; the demo continues for anyone else watching.
            with contextlib.suppress(BrokenPipeError):
                print(headline(event, self._language), flush=True)  # noqa: T201 - click.echo would bypass the live display

    def tick(self) -> None:
        """Called regularly; without a live display, prints one line per month, or per minute of a night."""
        if isinstance(self._story, Night):
            self._tick_of_night(self._story)
            return
        month = self._date()[:7]
        if self._live is None and self._playing.story_s and month != self._month:
            if self._month:
                click.echo(self._month_line(self._month), err=True)
            self._month = month

    def _tick_of_night(self, night: Night) -> None:
        if self._live is not None or not self._playing.story_s:
            return
        minute = self._minute(night)
        if minute != self._month:
            click.echo(f"{minute}: {self._placed(night):,} ordered; {self._read()}", err=True)
            self._month = minute

    def _minute(self, night: Night) -> str:
        """How long the night has lasted, in hours and minutes."""
        minutes = max(self._playing.story_s - night.span_s[0], 0) // 60
        return f"{minutes // 60}:{minutes % 60:02d} h"

    def _placed(self, night: Night) -> int:
        return self._seen.count("orders_placed", night.facts.launch.period)

    def _read(self) -> str:
        return f"events published {self._playing.published:,}, read {self._seen.books()['read']:,}"

    def _date(self) -> str:
        today = (datetime.fromtimestamp(self._playing.story_s, UTC) + self._offset).date()
        return min(today, self._story.expected.last_day).isoformat()

    def _month_line(self, month: str) -> str:
        seen = self._seen
        return (
            f"{month}: {seen.count('orders_placed', f'month:{month}'):,} ordered and "
            f"{seen.count('deliveries', f'month:{month}'):,} delivered in the month, "
            f"{seen.count('deliveries', f'year:{month[:4]}'):,} in the year; {self._read()}"
        )

    def _table(self) -> RenderableType:
        day = self._date() if self._playing.story_s else "..."
        books, seen = self._seen.books(), self._seen
        title = Text.assemble((day, "bold"), f"  {self._story.facts.title}, {self._story.facts.label}")
        grid = Table.grid(padding=(0, 3))
        if isinstance(self._story, Night):
            grid.add_row("ordered", f"{self._placed(self._story):,}", f"after {self._minute(self._story)}")
            return Group(title, grid, Text(self._read()))
        for name, metric in (("produced", "produced"), ("delivered", "deliveries"), ("ordered", "orders_placed")):
            grid.add_row(
                name,
                f"day {seen.count(metric, f'day:{day}'):,}",
                f"month {seen.count(metric, f'month:{day[:7]}'):,}",
                f"year {seen.count(metric, f'year:{day[:4]}'):,}",
            )
        grid.add_row("events", f"published {self._playing.published:,}", f"read {books['read']:,}")
        grid.add_row(
            "",
            f"duplicates {books['duplicates']:,}",
            f"dead letters {books['dead_letters']:,}",
            f"rerouted {books['rerouted']:,}",
        )
        return Group(title, grid)
