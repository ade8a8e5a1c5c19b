"""How tests are distributed over several processes: by file, longest first, so that no long one is left over at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer

#: Files that go to one process, because they share a special broker.
SECURED: Final = ("tests/kafka/test_secured.py", "tests/kafka/test_rights.py", "tests/kafka/test_secured_guide.py")
#: The same for the whole story, which is told once.
STORY: Final = ("tests/story/test_story.py", "tests/story/test_backtest.py")
#: Files whose tests are distributed one by one: each takes long, and they share nothing that is slow to set up.
APART: Final = (
    "tests/faults/test_faults.py",
    "tests/cli/test_demo.py",
    "tests/simulation/test_simulation.py",
    "tests/kafka/test_targets.py",
)
#: Files that take longer than about ten seconds, longest first. After them come all others that need Kafka.
LONGEST: Final = (
    *SECURED,
    "tests/web/test_browser.py",
    "tests/simulation/test_simulation.py",
    "tests/cli/test_demo.py",
    "tests/faults/test_faults.py",
    "tests/kafka/test_broker.py",
    "tests/kafka/test_rebuild.py",
    "tests/faults/test_soak.py",
    "tests/cli/test_every_difference.py",
    "tests/kafka/test_moves.py",
    "tests/kafka/test_corrections.py",
    "tests/kafka/test_targets.py",
    "tests/kafka/test_repairs.py",
    "tests/web/test_server.py",
    "tests/faults/test_broker_loss.py",
    "tests/kafka/test_gaps.py",
    "tests/kafka/test_campaigns.py",
    "tests/kafka/test_owners_topics.py",
    "tests/web/test_browser_alone.py",
    "tests/cli/test_audit.py",
    "tests/kafka/test_admin.py",
    "tests/kafka/test_broker_limits.py",
    "tests/cli/test_publish.py",
    "tests/kafka/test_forecasts.py",
    "tests/kafka/test_silences.py",
    "tests/kafka/test_reconcile.py",
    "tests/kafka/test_kept_days.py",
    "tests/kafka/test_totals_partitions.py",
    "tests/kafka/test_parts.py",
    "tests/kafka/test_other_clients.py",
    "tests/kafka/test_families.py",
    "tests/kafka/test_event_source.py",
    "tests/kafka/test_append_times.py",
    "tests/kafka/test_plain_client.py",
    "tests/kafka/test_reading.py",
    "tests/fuzz/test_fuzz.py",
    "tests/cli/test_doctor.py",
    "tests/test_deployment.py",
    *STORY,
    "tests/domain/test_campaigns.py",
)
_WITH_KAFKA: Final = ("tests/kafka/", "tests/faults/")
_PLACES: Final = {file: place for place, file in enumerate(LONGEST)}


def unit_of(nodeid: str) -> str:
    """The unit that a test is distributed with: itself, its file, or several files."""
    file = nodeid.partition("::")[0]
    if file in APART:
        return nodeid
    return next((together[0] for together in (SECURED, STORY) if file in together), file)


def longest_first(items: list[pytest.Item]) -> None:
    """Sorts tests into the order in which they are distributed."""
    items.sort(key=lambda item: _place(item.nodeid.partition("::")[0]))


def _place(file: str) -> int:
    return _PLACES.get(file, len(LONGEST) + (not file.startswith(_WITH_KAFKA)))


class LongestFirst(LoadScopeScheduling):
    """Distributes units in the given order."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
