"""Dead letters, violations, and other systems' totals that differ from ours."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from schemas.facts import REASONS
from schemas.messages import Message
from schemas.outputs import VIOLATION_MESSAGES, RowControl, WindowRow
from schemas.texts import tidy
from schemas.wrappers import UNWRAPS
from streams.domain.hints.likely_slips import alike, likely_slips, longest
from streams.domain.hints.suggestions import unknown
from streams.web.readmodel import DeadLetterEntry, Group, LetterQuery, ViolationEntry, ViolationQuery, WindowQuery
from streams.web.readmodel.rejected import LETTER_ORDER, VIOLATION_ORDER
from streams.web.vehicles import shown
from streams.web.views.common import (
    Ask,
    DatedParameters,
    EarlierMoment,
    GivenDate,
    Parameters,
    Text,
    UnknownNameError,
    View,
    checked_place,
    place_of,
    text_of_place,
)

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.web.orders import Orders

_MAX_RECONCILED = 1000
_MAX_ORDERS = 500
_MAX_SUSPECTS = 500


def _one_of(what: str, text: str, known: Collection[str]) -> str:
    if text and text not in known:
        raise ValueError(unknown(what, text, known))
    return text


class _Paged(Parameters):
    after: Annotated[str, Field(max_length=2048), checked_place(lambda _: len(LETTER_ORDER))] = ""
    before: Annotated[str, Field(max_length=2048), checked_place(lambda _: len(LETTER_ORDER))] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class DeadLettersParameters(_Paged):
    """Only those with a `reason`, source `topic`, business date (`day`), order, vehicle (`vin`), event `source`.

    `after` is the `next` of a page, and `before` its `previous`.
    """

    reason: Annotated[Text, AfterValidator(lambda text: _one_of("reason", text, REASONS))] = ""
    topic: Text = ""
    day: GivenDate = ""
    order_id: Text = ""
    vin: Text = ""
    source: Text = ""


class LetterLine(View):
    """A dead letter; `command` publishes it again once it has been repaired."""

    letter: DeadLetterEntry
    command: str


class DeadLettersView(View):
    """A page of dead letters, the newest first; `total` is over all pages; `payloads_shown` says whether keys and values are shown.

    `command` publishes all of them again. `next` and `previous` lead to the adjacent pages, as `after` and `before`.
    """

    parameters: DeadLettersParameters
    payloads_shown: bool
    vins_shown: bool
    by_reason: list[Group]
    by_topic: list[Group]
    total: int
    previous: str | None
    next: str | None
    command: str
    letters: list[LetterLine]


class ViolationsParameters(_Paged):
    """Only those of a `kind`, an order (`order_id`), a vehicle (`vin`), an event `source`; `after` and `before` as for dead letters."""

    after: Annotated[str, Field(max_length=2048), checked_place(lambda _: len(VIOLATION_ORDER))] = ""
    before: Annotated[str, Field(max_length=2048), checked_place(lambda _: len(VIOLATION_ORDER))] = ""
    kind: Annotated[Text, AfterValidator(lambda text: _one_of("kind", text, VIOLATION_MESSAGES))] = ""
    order_id: Text = ""
    vin: Text = ""
    source: Text = ""


class SlipLine(View):
    """A name that differs from a more common one only in case or width; `alias` is the setting that counts both as one."""

    dimension: str
    name: str
    like: str
    units: int
    units_alike: int
    alias: str


class ViolationsView(View):
    """A page of violations, the newest first; `total` is over all pages. `slips` are names that are likely slips.

    `next` and `previous` lead to the adjacent pages, as `after` and `before`.
    """

    parameters: ViolationsParameters
    vins_shown: bool
    by_kind: list[Group]
    total: int
    previous: str | None
    next: str | None
    violations: list[ViolationEntry]
    slips: list[SlipLine]


class ReconciliationParameters(DatedParameters):
    """`show`: all windows that another system also counts, or only those that differ."""

    show: Literal["all", "differing"] = "all"
    source: Text = ""


class ReconciledWindow(View):
    """A window's count next to another system's; `command` shows the units on our side."""

    metric: str
    scope: str
    period: str
    count: int
    status: str
    control: RowControl
    command: str


class ReconciliationView(View):
    """Our counts next to those of other systems, the greatest difference first."""

    parameters: ReconciliationParameters
    sources: list[str]
    compared: int
    differing: int
    lines: list[ReconciledWindow]
    past: EarlierMoment | None


def dead_letters(ask: Ask, parameters: DeadLettersParameters) -> DeadLettersView:
    """A page of dead letters."""
    found = ask.view.dead_letters.page(
        LetterQuery(
            reason=parameters.reason,
            topic=parameters.topic,
            day=parameters.day,
            order_id=tidy(parameters.order_id),
            vin=_vin(ask, parameters.vin),
            source=tidy(parameters.source),
            after=place_of(parameters.after),
            before=place_of(parameters.before),
            limit=parameters.limit,
        )
    )
    return DeadLettersView(
        parameters=parameters,
        payloads_shown=ask.settings.web_show_payloads,
        vins_shown=ask.settings.web_show_vins,
        by_reason=ask.view.dead_letters.by("reason"),
        by_topic=ask.view.dead_letters.by("topic"),
        total=found.total,
        previous=text_of_place(found.previous),
        next=text_of_place(found.next),
        command=_replay(
            ("--reason", parameters.reason), ("--topic", parameters.topic), *_repairs(parameters.reason, ask.settings)
        ),
        letters=[
            LetterLine(
                letter=replace(letter, order_id=shown(letter.order_id, ask.settings)),
                command=_replay(
                    ("--offset", f"{letter.topic}:{letter.partition}:{letter.offset}"),
                    *_repairs(letter.reason, ask.settings),
                ),
            )
            for letter in found.letters
        ],
    )


def _vin(ask: Ask, text: str) -> str:
    """The requested vehicle, if the settings allow it."""
    if text and not ask.settings.web_show_vins:
        raise UnknownNameError(Message("vehicles are not looked up here; web_show_vins = true allows it"), "vin")
    return tidy(text).upper()


def _repairs(reason: str | None, settings: Settings) -> tuple[tuple[str, str], ...]:
    """Options that repair most records rejected for a reason, to start with."""
    if reason == "missing_offset":
        offset = datetime.now(ZoneInfo(settings.timezone)).strftime("%z")
        return (("--time-offset", f"{offset[:3]}:{offset[3:]}"),)
    return (("--unwrap", UNWRAPS[reason]),) if reason in UNWRAPS else ()


def _replay(*options: tuple[str, str]) -> str:
    given = [word for name, value in options if value for word in (name, shlex.quote(value))]
    return " ".join(["milestones dead-letters replay", *given, "--dry-run"])


def _reconcile(row: WindowRow, control: RowControl) -> str:
    given = (("--metric", row.metric), ("--scope", row.scope), ("--period", row.period), ("--source", control.source))
    words = [word for name, value in given for word in (name, shlex.quote(value))]
    return " ".join(["milestones reconcile", *words, "--units"])


def violations(ask: Ask, orders: Orders, parameters: ViolationsParameters) -> ViolationsView:
    """A page of violations."""
    vin = _vin(ask, parameters.vin)
    found = ask.view.violations.page(
        ViolationQuery(
            kind=parameters.kind,
            order_id=tidy(parameters.order_id),
            order_ids=tuple(orders.with_vin(vin)[:_MAX_ORDERS]) if vin else None,
            source=tidy(parameters.source),
            after=place_of(parameters.after),
            before=place_of(parameters.before),
            limit=parameters.limit,
        )
    )
    return ViolationsView(
        parameters=parameters,
        vins_shown=ask.settings.web_show_vins,
        by_kind=ask.view.violations.by_kind(),
        total=found.total,
        previous=text_of_place(found.previous),
        next=text_of_place(found.next),
        violations=[replace(each, order_id=shown(each.order_id, ask.settings)) for each in found.violations],
        slips=_slips(ask),
    )


def _slips(ask: Ask) -> list[SlipLine]:
    suspects = sorted(alike(ask.view.windows.scopes()))[:_MAX_SUSPECTS]
    if not suspects:
        return []
    found = likely_slips(ask.view.windows.units(longest(ask.settings.windows), suspects), ask.settings.alias.known)
    return [SlipLine(**slip._asdict(), alias=f"[alias.{slip.dimension}] {slip.alias}") for slip in found]


def reconciliation(ask: Ask, parameters: ReconciliationParameters) -> ReconciliationView:
    """Our counts next to those of other systems."""
    rows = ask.view.windows.page(WindowQuery(has="controls", limit=_MAX_RECONCILED)).rows
    lines = [
        ReconciledWindow(
            metric=row.metric,
            scope=row.scope,
            period=row.period,
            count=row.count,
            status=row.status,
            control=control,
            command=_reconcile(row, control),
        )
        for row in rows
        for control in row.controls
    ]
    sources = sorted({line.control.source for line in lines})
    lines = [line for line in lines if parameters.source in ("", line.control.source)]
    differing = [line for line in lines if line.control.difference]
    shown = differing if parameters.show == "differing" else lines
    return ReconciliationView(
        parameters=parameters,
        sources=sources,
        compared=len(lines),
        differing=len(differing),
        lines=sorted(shown, key=lambda line: -abs(line.control.difference)),
        past=ask.past,
    )
