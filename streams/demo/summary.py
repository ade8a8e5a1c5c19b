"""The demo's summary, and whether the service agrees with the simulation."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from schemas.facts import METRICS
from streams.demo.warnings import stops_of, told_warnings
from streams.story import Story
from streams.story.expected import standing_milestones
from streams.wording.headline import headline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.demo.following import Seen
    from streams.settings import Settings
    from streams.story.expected import Expected
    from streams.story.figures import Figure
    from streams.story.launches import Launch, LaunchFigure
    from streams.story.nights import Night

_RELATIONS = {
    "exactly": "exactly",
    "more_than": "more than",
    "at_least": "at least",
    "first_day_above": "first above",
    "reached_on": "first at",
}
#: Number of differences of each kind to list; the rest are only counted.
_LISTED = 5


def summary_lines(story: Story | Night, seen: Seen, language: str) -> Iterator[str]:
    """The lines of the summary: standing milestones, published figures, and the books."""
    standing = seen.standing()
    yield f"{story.facts.title}, {story.facts.label}"
    yield ""
    yield f"Milestones that stand: {len(standing)}"
    yield from (f"  {headline(event, language)}" for event in standing)
    if warnings := seen.warnings():
        yield f"Early warnings that were told, as they ended: {len(warnings)}"
        yield from (f"  {headline(event, language)}" for event in warnings)
    yield ""
    yield "Published figures and what the service counts"
    yield from _figures_of_launch(story.facts.launch, seen)
    if isinstance(story, Story):
        yield from _figures_of_year(story, seen)
    yield ""
    yield "Books"
    yield f"  {books_line(seen)}"


def _figures_of_launch(launch: Launch, seen: Seen) -> Iterator[str]:
    minutes = seen.minutes("orders_placed", launch.period)
    if not minutes:
        yield f"  {launch.period} is not counted: these settings have no such campaign, or no rows of it for the model"
        return
    for figure in launch.figures:
        yield _line(figure, figure.counted(minutes), holds=figure.holds(minutes))


def _figures_of_year(story: Story, seen: Seen) -> Iterator[str]:
    days = seen.day_counts()
    for figure in story.facts.figures:
        counts, opening = days[figure.metric], seen.opening(figure.metric)
        yield _line(figure, figure.counted(counts, opening), holds=figure.holds(counts, opening))
    unexplained = story.facts.unexplained
    counted = days["deliveries"][unexplained.day]
    yield f"  {counted} deliveries of the total by 30 September are in no published part: dated {unexplained.day}, unexplained"


def _line(figure: Figure | LaunchFigure, counted: int, *, holds: bool) -> str:
    said = f"{_RELATIONS[figure.relation]} {figure.value:,}"
    verdict = "holds" if holds else "DOES NOT HOLD"
    return f"  {figure.what:<42} {counted:>7,}   {said:<19} {figure.grade:<8}  {verdict}"


def books_line(seen: Seen) -> str:
    """Events read and what became of them, in one line."""
    books = seen.books()
    return (
        f"events read {books['read']:,} = applied {books['applied']:,} + duplicates {books['duplicates']:,} "
        f"+ dead letters {books['dead_letters']:,}; rerouted {books['rerouted']:,} of them to their home partition"
    )


def speed_line(records: int, seconds: float) -> str:
    """How long it took, from the first event published to the last milestone seen."""
    return f"{seconds:.1f} s, {records / seconds:,.0f} events/s"


def result_differences(story: Story | Night, seen: Seen, settings: Settings) -> list[str]:
    """Differences of counts or milestones from the simulation, one line each; should be empty."""
    expected = story.expected
    counted = seen.day_counts()
    lines = []
    for metric in METRICS:
        days, found = expected.counts[metric], counted[metric]
        off = [day for day in sorted(days.keys() | found.keys()) if days[day] != found[day]]
        lines += [f"{metric} on {day}: {found[day]:,} counted, {days[day]:,} simulated" for day in off[:_LISTED]]
        lines += [f"{metric}: {len(off) - _LISTED} more days differ"] if len(off) > _LISTED else []
    lines += _inventory_difference(expected, seen) if settings.keeps_inventory else []
    for period in expected.minutes.keys() & {campaign.period_id for campaign in settings.campaigns}:
        lines += _minute_differences(period, expected.minutes[period], seen)
    simulated = standing_milestones(
        settings, story.facts.model, expected.counts, expected.last_day, expected.openings, expected.campaigns
    )
    stands = {event.subject for event in seen.standing()}
    lines += [f"{milestone_id} should stand" for milestone_id in sorted(simulated - stands)]
    lines += [f"{milestone_id} should not stand" for milestone_id in sorted(stands - simulated)]
    return lines + (_warning_differences(story, seen, settings) if isinstance(story, Story) else [])


def _warning_differences(story: Story, seen: Seen, settings: Settings) -> list[str]:
    """Early warnings that are missing, that are not expected, or that stand although their target is reached."""
    must, may = told_warnings(settings, story.facts.model, story.expected.counts, stops_of(story))
    told = {event.subject for event in seen.warnings()}
    lines = [f"{name} should have been told" for name in sorted(must - told)]
    lines += [f"{name} should not have been told" for name in sorted(told - may)]
    reached = {f"/target:{target.target_id}:{target.value}" for target in settings.target}
    reached = {each for each in reached if any(event.subject.endswith(each) for event in seen.standing())}
    return lines + [
        f"{event.subject} stands, and its target is reached"
        for event in seen.warnings()
        if event.stands and f"/target:{event.data.target_id}:{event.data.threshold}" in reached
    ]


def _minute_differences(period: str, simulated: Sequence[int], seen: Seen) -> list[str]:
    """The first minutes of a campaign whose orders differ from the simulation."""
    off = [
        f"{period}, minute {minute}: {counted:,} counted, {orders:,} simulated"
        for minute, (counted, orders) in enumerate(
            zip_longest(seen.minutes("orders_placed", period), simulated, fillvalue=0), start=1
        )
        if counted != orders
    ]
    return off[:_LISTED]


def _inventory_difference(expected: Expected, seen: Seen) -> list[str]:
    """Whether the inventory, produced but not delivered, is as simulated; if there is any production."""
    made, delivered = (
        expected.openings.get(metric, 0) + expected.counts[metric].total() for metric in ("produced", "deliveries")
    )
    counted = seen.count("inventory", "total")
    return (
        [f"inventory: {counted:,} counted, {made - delivered:,} simulated"]
        if made and counted != made - delivered
        else []
    )


def book_differences(story: Story | Night, seen: Seen, settings: Settings) -> list[str]:
    """Differences of the books from those of a story published exactly once, one line each."""
    expected, books = story.expected, seen.books()
    should = {
        "read": expected.records,
        "applied": expected.events,
        "duplicates": expected.duplicates,
        "dead_letters": expected.dead_letters.total(),
        "rerouted": expected.rerouted(settings.partitions),
    }
    return [
        f"{name.replace('_', ' ')}: {books[name]:,} in the books, {number:,} simulated"
        for name, number in should.items()
        if books[name] != number
    ]
