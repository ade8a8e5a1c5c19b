"""Metrics for Prometheus: the read model, the requests, the streams, and what workers report."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.web.sse import Hub
    from streams.web.status import ServiceStatus

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts requests by route and status, and how long they took."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BUCKETS_S) + 1))
        self._seconds: dict[str, float] = defaultdict(float)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Notes an answered request; `route` is a pattern, because the number of paths is unbounded."""
        with self._lock:
            self._requests[route, status] += 1
            self._buckets[route][bisect_left(_BUCKETS_S, seconds)] += 1
            self._seconds[route] += seconds

    def text(self, status: ServiceStatus, hub: Hub, business: Iterable[Family] = ()) -> str:
        """All metrics in Prometheus' text format."""
        lines: list[str] = []
        for name, kind, meaning, samples in [*_state(status), *_streams(hub), *business]:
            lines += _family(name, kind, meaning, samples)
        with self._lock:
            requests = [((("route", route), ("status", str(code))), n) for (route, code), n in self._requests.items()]
            durations = list(self._durations())
        lines += _family("milestones_web_requests_total", "counter", "Requests answered.", requests)
        lines += [
            "# HELP milestones_web_request_seconds Time to answer.",
            "# TYPE milestones_web_request_seconds histogram",
        ]
        return "\n".join([*lines, *durations, ""])

    def _durations(self) -> Iterator[str]:
        name = "milestones_web_request_seconds"
        for route, buckets in self._buckets.items():
            total = 0
            for bound, count in zip((*_BUCKETS_S, "+Inf"), buckets, strict=True):
                total += count
                yield _sample(f"{name}_bucket", (("route", route), ("le", str(bound))), total)
            yield _sample(f"{name}_sum", (("route", route),), self._seconds[route])
            yield _sample(f"{name}_count", (("route", route),), total)


Family = tuple[str, str, str, list[tuple[Labels, float]]]


def _state(status: ServiceStatus) -> list[Family]:
    reader, workers, partitions = status.reader, status.workers, status.partitions
    families: list[Family] = [
        ("milestones_web_up_to_date", "gauge", "1 unless pages are marked stale.", [((), int(not status.stale))]),
        ("milestones_web_rebuilt", "gauge", "1 once everything there was has been read.", [((), int(reader.rebuilt))]),
        ("milestones_web_lag_records", "gauge", "Offsets that the read model is behind.", [((), reader.lag_records)]),
        ("milestones_web_broker_reachable", "gauge", "1 while a broker answers.", [((), int(status.broker.reachable))]),
        ("milestones_web_unreadable_records", "gauge", "Output records not understood.", [((), reader.unreadable)]),
        (
            "milestones_worker_up",
            "gauge",
            "1 while a worker reports.",
            [((("worker", each.name),), int(each.health != "stopped" and not each.silent)) for each in workers],
        ),
        (
            "milestones_standby_behind_records",
            "gauge",
            "Records of its changelog that the standby copy of a ledger partition is behind.",
            [
                ((("partition", str(copy.partition)), ("worker", each.name)), copy.behind)
                for each in workers
                if not each.silent
                for copy in each.standbys
                if copy.behind is not None
            ],
        ),
        (
            "milestones_partition_lag_events",
            "gauge",
            "Events that wait, by ledger partition.",
            [((("partition", str(each.partition)),), each.lag) for each in partitions],
        ),
    ]
    books: list[tuple[Labels, float]] = [
        ((("partition", str(each.partition)), ("topic", topic), ("fate", fate)), getattr(found, fate))
        for each in partitions
        for topic, found in each.books.items()
        for fate in ("read", "applied", "duplicates", "dead_letters", "rerouted")
    ]
    return [*families, ("milestones_books_records_total", "counter", "Records by what became of them.", books)]


def _streams(hub: Hub) -> list[Family]:
    return [
        ("milestones_web_streams", "gauge", "Clients of the event stream.", [((), hub.clients)]),
        ("milestones_web_streams_dropped_total", "counter", "Clients let go as too slow.", [((), hub.dropped)]),
        ("milestones_web_events_sent_total", "counter", "Events sent to clients.", [((), hub.sent_events)]),
    ]


def _family(name: str, kind: str, meaning: str, samples: Iterable[tuple[Labels, float]]) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *(_sample(name, labels, n) for labels, n in samples)]


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
