"""Business metrics for Prometheus: today's counts, targets, milestones, silent sources.

Labels are bounded: if there are more scopes, targets or sources than a monitoring system should get, only the greatest scopes, the
targets that end first and the sources silent longest are included, and a separate metric says how many are left out.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from schemas.facts import ROW_METRICS
from streams.domain.time.periods import PERIOD_OF

if TYPE_CHECKING:
    from streams.domain.time.periods import Reckoning
    from streams.web.metrics import Family, Labels
    from streams.web.readmodel import Snapshot
    from streams.web.status import ServiceStatus

#: The most scopes, targets and sources, each.
MOST: Final = 100


def families(view: Snapshot, status: ServiceStatus, reckoning: Reckoning) -> list[Family]:
    """The metrics at one moment; none before everything has been read.

    Args:
        view: What has been read.
        status: The status of the service.
        reckoning: When weeks and years begin.
    """
    if not status.reader.rebuilt:
        return []
    rows, scopes_left = _rows(view, date.fromisoformat(status.business_date), reckoning)
    targets, targets_left = _targets(view)
    silences = sorted(((_silence_s(status, each.last_event_at), each.source) for each in status.sources), reverse=True)
    left_out: list[tuple[Labels, float]] = [
        ((("of", "scopes"),), scopes_left),
        ((("of", "targets"),), targets_left),
        ((("of", "sources"),), max(len(silences) - MOST, 0)),
    ]
    raised: list[tuple[Labels, float]] = [
        ((("kind", kind), ("event", event)), count) for (kind, event), count in view.milestones.events().items()
    ]
    return [
        ("milestones_window_units", "gauge", "Units of the day, month, year and other periods that are on.", rows),
        *targets,
        ("milestones_raised_total", "counter", "Milestone events by kind and by what happened.", raised),
        (
            "milestones_source_silence_seconds",
            "gauge",
            "Seconds since the last event of a source, by event time.",
            [((("source", source),), seconds) for seconds, source in silences[:MOST]],
        ),
        ("milestones_left_out", "gauge", "Scopes, targets and sources that have no sample here.", left_out),
    ]


def _rows(view: Snapshot, today: date, reckoning: Reckoning) -> tuple[list[tuple[Labels, float]], int]:
    scopes = view.windows.scopes()
    units: dict[str, list[tuple[Labels, float]]] = {scope: [] for scope in scopes}
    greatest = dict.fromkeys(scopes, 0)
    for period in (made(today, reckoning) for made in PERIOD_OF.values()):
        for metric in ROW_METRICS:
            for scope, count in view.windows.counts(metric, period):
                units[scope].append(((("metric", metric), ("scope", scope), ("window", period.kind)), count))
                greatest[scope] = max(greatest[scope], count)
    kept = sorted(scopes, key=lambda scope: (-greatest[scope], scope))[:MOST]
    return [sample for scope in sorted(kept) for sample in units[scope]], len(scopes) - len(kept)


def _targets(view: Snapshot) -> tuple[list[Family], int]:
    forecasts = [each for each in view.forecasts.current() if each.business_date <= each.end]
    labelled: list[tuple[Labels, tuple[float, float, float]]] = [
        (
            (
                ("metric", each.metric),
                ("scope", each.scope),
                ("period", each.period),
                ("target", each.target_id),
                ("state", each.state),
            ),
            (each.value, each.count, each.ahead_units),
        )
        for each in forecasts[:MOST]
    ]
    texts = (
        ("milestones_target_units", "Units that a target in force wants."),
        ("milestones_target_counted_units", "Units that its window has, as of its last forecast."),
        ("milestones_target_ahead_units", "Units ahead of the plan line; negative when behind."),
    )
    made = [
        (name, "gauge", text, [(labels, numbers[at]) for labels, numbers in labelled])
        for at, (name, text) in enumerate(texts)
    ]
    return made, max(len(forecasts) - MOST, 0)


def _silence_s(status: ServiceStatus, last_event_at: str) -> float:
    now, last = datetime.fromisoformat(status.business_now), datetime.fromisoformat(last_event_at)
    return max((now - last).total_seconds(), 0.0)
