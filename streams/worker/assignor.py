"""Assigns each ledger partition, with all source partitions it reads, and each totals partition to one worker.

Faust's assignor keeps topics together only if they have equally many partitions; source topics differ, and grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streams.context import Context

#: Topic → numbers of its partitions.
Share = dict[str, list[int]]


def shares(context: Context, counts: Mapping[str, int]) -> list[Share]:
    """What has to stay together: one share per ledger partition, followed by one per totals partition.

    Args:
        context: Names of topics, number of ledger partitions.
        counts: Topic → its number of partitions, 0 if it does not exist.
    """
    homes = context.settings.partitions
    ledgers = [
        {topic: list(range(number, counts.get(topic, 0), homes)) for topic in context.ledger_topics}
        for number in range(homes)
    ]
    totals = [
        {topic: [number] for topic, number in sorted(reads) if number < counts.get(topic, 0)}
        for reads in context.read_by_totals
    ]
    return [*ledgers, *totals]


def divide(count: int, members: Sequence[str], before: Mapping[int, str], totals: int = 1) -> list[str]:
    """The owner of each of `count` shares: evenly distributed, with as few moves as that allows.

    Args:
        count: Number of shares; those of the totals come last.
        members: Sorted.
        before: Share → its previous owner.
        totals: Number of shares of the totals. If there are several, they are also distributed evenly among themselves,
            since each is more work than a ledger partition.
    """
    load = dict.fromkeys(members, 0)
    owners: dict[int, str] = {}
    groups = [range(count)] if totals == 1 else [range(count - totals, count), range(count - totals)]
    dealt = 0
    for group in groups:
        dealt += len(group)
        # Exactly this many members get one share more than the others: with more, a joining member might get none.
        least, one_more = divmod(dealt, len(members))
        one_more -= sum(of > least for of in load.values())
        for most in (least, least + 1):
            for share in group:
                owner = before.get(share)
                if share in owners or owner not in load or load[owner] >= most:
                    continue
                if most > least:
                    if not one_more:
                        break
                    one_more -= 1
                owners[share] = owner
                load[owner] += 1
        for share in group:
            if share not in owners:
                owners[share] = owner = min(members, key=lambda member: (load[member], member))
                load[owner] += 1
    return [owners[share] for share in range(count)]


class _Cluster(Protocol):
    def partitions_for_topic(self, topic: str) -> Collection[int] | None: ...


class _Member(Protocol):
    @property
    def subscription(self) -> Sequence[str]: ...


class SharesAssignor(PartitionAssignor):
    """Faust's assignor with a different distribution."""

    def _perform_assignment(self, cluster: _Cluster, member_metadata: Mapping[str, _Member]) -> object:
        clients = {member: self._get_client_metadata(metadata) for member, metadata in member_metadata.items()}
        self._update_member_urls(clients)
        context: Context = self.app.context
        wanted = {*context.ledger_topics, *context.totals_topics}
        # A worker that does not subscribe to all of these topics gets nothing until it is restarted with them.
        members = sorted(member for member in clients if wanted <= set(member_metadata[member].subscription))
        topics = {topic for metadata in member_metadata.values() for topic in metadata.subscription}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        parts = shares(context, counts)
        before: dict[int, str] = {}
        for member in members:
            actives = clients[member].assignment.actives
            for index, part in enumerate(parts):
                if any(set(actives.get(topic, ())) & set(numbers) for topic, numbers in part.items()):
                    before.setdefault(index, member)
        assignments = {member: ClientAssignment(actives={}, standbys={}) for member in member_metadata}
        for part, owner in zip(parts, divide(len(parts), members, before, len(context.read_by_totals)), strict=True):
            for topic, numbers in part.items():
                if numbers:
                    assignments[owner].actives.setdefault(topic, []).extend(numbers)
        groups = {topic: index for index, part in enumerate(parts) for topic in part}
        return self._protocol_assignments(
            assignments,
            self._get_changelog_distribution(assignments),
            self._get_external_topic_distribution(assignments),
            groups,
        )
