"""Announced campaigns, and what is counted in them, are a function of the set of events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.counts import CampaignHour
from schemas.events import CampaignSet, CampaignSetData, CampaignWithdrawn, CampaignWithdrawnData
from schemas.facts import ID_CONFLICT, METRICS
from schemas.questions import Question
from streams.audit.comparing import compare_campaigns
from streams.audit.sums import Business
from streams.audit.targets import TargetEvents
from streams.context import Context
from streams.domain.announced.announcements import (
    Announcement,
    CampaignBook,
    CampaignChange,
    campaign_change_of,
)
from streams.domain.announced.disposition import APPLIED, DUPLICATE
from streams.domain.pauses import whole
from streams.domain.time.campaigns import Campaign, Campaigns
from streams.domain.time.zone import MINUTE_US
from streams.settings import Settings
from streams.settings_sections import CampaignSettings, LimitSettings
from tests.contract.goldens import MARKER
from tests.domain.facts import read_counts
from tests.domain.test_campaigns import MODELS, campaigns, counted, ledger_of, recount, scopes_of, told_rows
from tests.domain.test_ledger_properties import TIMES, arrivals, take

if TYPE_CHECKING:
    from random import Random

    from schemas.counts import CountKey
    from schemas.events import CampaignEvent
    from schemas.facts import DayCount, Fact

NAMES = ("a", "b-2")
MINUTE = TIMES[0] // MINUTE_US


def campaign_of(name: str, first: int, minutes: int, templates: tuple[tuple[str, ...], ...] = MODELS) -> Campaign:
    return Campaign(
        name, (MINUTE + first) * MINUTE_US, (MINUTE + first + minutes) * MINUTE_US, tuple(sorted(templates))
    )


@st.composite
def changes(draw: st.DrawFn) -> list[CampaignChange]:
    """Events with distinct identities; some have the same time."""
    made = []
    for number in range(draw(st.integers(0, 8))):
        name = draw(st.sampled_from(NAMES))
        campaign = draw(st.none() | st.builds(campaign_of, st.just(name), st.integers(0, 9), st.integers(1, 9)))
        made.append(CampaignChange(draw(st.integers(0, 3)), f"e{number}", "/plan", name, campaign))
    return made


def plainly(events: list[CampaignChange], of_settings: list[Campaign]) -> dict[str, Campaign]:
    found: dict[str, Campaign | None] = {campaign.name: campaign for campaign in of_settings}
    for event in sorted(events, key=lambda event: (event.time_us, event.id, event.source)):
        found[event.name] = event.campaign
    return {name: campaign for name, campaign in found.items() if campaign is not None}


@given(changes(), st.data(), st.sampled_from([(), NAMES[:1], NAMES]))
def test_which_campaigns_are_counted_does_not_depend_on_the_order_of_the_events(
    events: list[CampaignChange], data: st.DataObject, of_settings: tuple[str, ...]
) -> None:
    known = [campaign_of(name, 20, 5) for name in of_settings]
    book = CampaignBook(of_settings, 100)
    again = data.draw(st.lists(st.sampled_from(events))) if events else []
    seen: set[str] = set()
    for event in data.draw(st.permutations([*events, *again])):
        assert book.take(event._replace()) == (DUPLICATE if event.id in seen else APPLIED)
        seen.add(event.id)
    announcement = Announcement(3, book.decided)
    assert Announcement.parse(announcement.text) == announcement
    counted_now = {campaign.name: campaign for campaign in announcement.beside(known)}
    assert counted_now == plainly(events, known)
    # Without new events the announcement is the same object, so comparing it costs nothing.
    assert book.decided is book.decided


def test_another_content_under_one_identity_is_refused_and_has_no_effect() -> None:
    book = CampaignBook((), 100)
    first = CampaignChange(1, "e", "/plan", "a", campaign_of("a", 0, 5))
    assert book.take(first) == APPLIED
    assert book.take(first._replace(campaign=None)) == ID_CONFLICT
    assert book.take(first._replace(text="a label")) == ID_CONFLICT
    assert book.take(first._replace(name="b-2", campaign=None)) == APPLIED
    assert book.decided == (("a", first.campaign),)


def test_of_very_many_those_leave_first_that_are_over_and_then_those_that_begin_last() -> None:
    book = CampaignBook(["c0", "c5"], 100)
    every = [campaign_of(f"c{number}", number * 10, 10) for number in range(110)]
    runs_us = every[5].start_us + MINUTE_US
    for number, campaign in enumerate(every):
        book.take(CampaignChange(runs_us - number, "e", "/plan", campaign.name, campaign))
    announcement = Announcement(1, book.decided)
    # c5 runs, and c0 to c4 are over; the last five that begin after it would be a hundred and five.
    assert {campaign.name for campaign in announcement.beside([every[0]])} == {
        campaign.name for campaign in every[5:105]
    }
    book.take(CampaignChange(runs_us, "w", "/plan", "c50", None))
    assert {campaign.name for campaign in Announcement(2, book.decided).beside([every[0]])} == {
        campaign.name for campaign in every[5:106] if campaign.name != "c50"
    }
    # The event of another campaign says that c5 and c6 are over too: two that begin later are counted for them.
    book.take(CampaignChange(every[7].start_us, "w", "/plan", "c51", None))
    assert {campaign.name for campaign in Announcement(2, book.decided).beside([every[0]])} == {
        campaign.name for campaign in every[7:109] if campaign.name not in {"c50", "c51"}
    }
    assert len(announcement.text.encode()) < 8_000  # it is in every transaction


def test_however_many_are_announced_none_pushes_out_one_that_runs() -> None:
    book = CampaignBook((), 100)
    running = campaign_of("running", 0, 60)
    book.take(CampaignChange(running.start_us, "e", "/plan", "running", running))
    for number in range(1_000):
        over = campaign_of(f"over-{number}", -100 - number, 99)
        later = campaign_of(f"later-{number}", 1 + number, 99)
        for campaign in (over, later):
            book.take(CampaignChange(running.end_us - 1, "e", "/plan", campaign.name, campaign))
    assert dict(book.decided)["running"] == running
    assert len(book.decided) == 100


@given(st.permutations(range(8)), st.integers(1, 9), st.data())
def test_which_are_beyond_the_limit_does_not_depend_on_the_order_of_the_events(
    order: list[int], most: int, data: st.DataObject
) -> None:
    """A maker who announces for years has the latest counted; what comes late about an early one changes nothing."""
    book = CampaignBook((), most)
    every = [campaign_of(f"c{number}", number * 10, 5) for number in range(8)]
    times = data.draw(
        st.lists(st.sampled_from([each.end_us + add for each in every for add in (-1, 0)]), min_size=8, max_size=8)
    )
    for taken, number in enumerate(order, 1):
        book.take(CampaignChange(times[number], "e", "/plan", f"c{number}", every[number]))
        kept = [name for name, campaign in book.decided if campaign is not None]
        seen, latest_us = sorted(order[:taken]), max(times[each] for each in order[:taken])
        running = [each for each in seen if every[each].end_us > latest_us]
        over = [each for each in seen if every[each].end_us <= latest_us]
        expected = [*running[:most], *(over[-(most - len(running)) :] if most > len(running) else [])]
        assert kept == [f"c{each}" for each in sorted(expected)]
    latest = book.decided
    if "c0" not in dict(latest) and every[0].end_us <= max(times):
        book.take(CampaignChange(max(times), "late", "/plan", "c0", campaign_of("c0", 0, 4)))
        assert book.decided == latest


@pytest.mark.parametrize("text", ["x", "1 a", "1 a@5+", "1 A@5+3 all", "1 a@5+0 all"])
def test_what_is_no_announcement_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Announcement.parse(text)


def test_nothing_announced_is_an_empty_text() -> None:
    assert Announcement().text == ""
    assert Announcement.parse("") == Announcement()
    assert Announcement.parse("4 ") == Announcement(4)
    assert not [*Announcement(4).beside(())]


# The recount --------------------------------------------------------------------------------------------------------

INSTANT = datetime(2026, 3, 1, 20, tzinfo=UTC)
LISTED: Final[tuple[list[list[str]] | None, ...]] = (None, [["model"]], [[]], [["region"]], [["region"], ["model"]])


@st.composite
def campaign_events(draw: st.DrawFn) -> list[CampaignEvent]:
    made: list[CampaignEvent] = []
    for number in range(draw(st.integers(0, 7))):
        envelope: dict[str, Any] = {
            "id": f"e{number}",
            "source": "/plan",
            "time": INSTANT + timedelta(minutes=draw(st.integers(0, 3))),
        }
        name = draw(st.sampled_from(NAMES))
        if draw(st.booleans()):
            data = CampaignWithdrawnData(campaign=name)
            made.append(CampaignWithdrawn(**envelope, data=data))
            continue
        start = INSTANT + timedelta(minutes=draw(st.integers(-9, 9)))
        minutes = draw(st.none() | st.integers(1, 9))
        instants = {"start": start, "end": start + timedelta(minutes=minutes) if minutes is not None else None}
        of_campaign = {"campaign": name, **instants, "scopes": draw(st.sampled_from(LISTED))}
        made.append(CampaignSet(**envelope, data=CampaignSetData.model_validate(of_campaign)))
    return made


@given(campaign_events(), st.randoms(use_true_random=False), st.sampled_from([1, 100]))
def test_the_recount_finds_the_campaigns_that_the_service_counts(
    events: list[CampaignEvent], dice: Random, most: int
) -> None:
    given_ones = (CampaignSettings(name=NAMES[0], start=INSTANT, hours=1),)
    limits = LimitSettings(announced_campaigns=most)
    settings = Settings(campaign=given_ones, scopes=(("model",), ()), limits=limits)
    context = Context(settings)
    in_order = sorted(events, key=lambda event: (event.time_us, event.id, event.source))
    dice.shuffle(events)
    book = CampaignBook([NAMES[0]], most)
    for event in events:
        book.take(campaign_change_of(event, context.templates))
    counted_by_service = Announcement(1, book.decided).beside(context.campaigns)
    recounted = TargetEvents(tuple(in_order), (0,) * len(in_order)).counted_by(settings)
    assert {one.text for one in recounted.campaigns} == {one.text for one in counted_by_service}
    marker = msgspec.structs.replace(MARKER, campaigns=counted_by_service.text)
    assert compare_campaigns({0: marker}, Business(recounted)).differences == []
    if events:
        other = msgspec.structs.replace(MARKER, campaigns="z@0+1 model")
        assert compare_campaigns({0: other}, Business(recounted)).differences[-1].line.startswith("ledger 0 counts")
    known_before = TargetEvents(tuple(in_order), (1,) * len(in_order)).counted_by(settings, appended_us=0)
    assert known_before == settings


# The counts ---------------------------------------------------------------------------------------------------------


@given(arrivals(), st.lists(campaigns(), min_size=2, max_size=4), st.data())
def test_a_campaign_counts_the_same_whenever_it_is_announced(
    arrival: tuple[list[Fact], list[list[list[Fact]]]], several: list[tuple[Campaign, ...]], data: st.DataObject
) -> None:
    """Announcements change before, between and after the steps; the reports add up to what the last one counts of all events."""
    events, steps = arrival
    at = sorted(data.draw(st.lists(st.integers(0, len(steps)), min_size=len(several) - 1, max_size=len(several) - 1)))
    ledger = ledger_of(several[0])
    heard: dict[CountKey, DayCount] = {}
    known = several[0]
    for number in range(len(steps) + 1):
        for which, place in enumerate(at, 1):
            if place == number:
                before, known = known, several[which]
                made = read_counts(whole(ledger.counting_by(Campaigns(known))))
                unchanged = {campaign.name for campaign in known if campaign in before}
                assert not any(key[2].campaign in unchanged for key in made if isinstance(key[2], CampaignHour))
                heard.update(made)
        if number < len(steps):
            for changes in take(ledger, steps[number : number + 1]):
                heard.update(read_counts(changes.counts))
    expected = recount(events, known)
    assert counted(ledger.counts()) == counted(heard) == expected
    always = ledger_of(known)
    take(always, steps)
    assert told_rows(ledger) == told_rows(always)
    for count in ledger.counts().values():
        assert count.count == sum(count.by_hour) >= count.backfilled >= 0
    # Questions about the N-th are answered as by a ledger that has always had these campaigns.
    campaign = data.draw(st.sampled_from(known))
    scope = scopes_of("SU7")[data.draw(st.sampled_from(campaign.templates))]
    asked = [
        Question(
            id="q", metric=metric, scope=scope, first_day=0, first_cell=0, last_cell=campaign.minutes - 1,
            campaign=campaign.name,
        )
        for metric in METRICS
    ]  # fmt: skip
    for question in asked:
        (answer,), (wanted,) = whole(ledger.answering([question])), whole(always.answering([question]))
        assert answer == wanted
