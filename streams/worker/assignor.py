"""Assigns each ledger partition, with all the source partitions it reads, and the totals to one worker.

Faust's assignor only keeps topics with equal numbers of partitions together; source topics differ in size, and grow.
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
    """What has to stay together: a share per ledger partition, and last the share of the totals.

    Args:
        context: Names of topics, number of ledger partitions.
        counts: Partitions of each topic, 0 for one that does not exist.
    """
    homes = context.settings.partitions
    ledgers = [
        {topic: list(range(number, counts.get(topic, 0), homes)) for topic in context.source_topics}
        for number in range(homes)
    ]
    totals = {topic: [0] for topic in (context.catalogue.counts.name, *context.side_topics) if counts.get(topic, 0)}
    return [*ledgers, totals]


def divide(count: int, members: Sequence[str], before: Mapping[int, str]) -> list[str]:
    """The owner of each of `count` shares: evenly distributed, with as few moves as that allows.

    Args:
        count: Number of shares; the last is the totals'.
        members: Sorted.
        before: Share → its owner until now.
    """
    most = -(-count // len(members))
    load = dict.fromkeys(members, 0)
    owners: list[str | None] = [None] * count
    for share in range(count):
        owner = before.get(share)
        if owner in load and load[owner] < most:
            owners[share] = owner
            load[owner] += 1
    found = []
    for owner in owners:
        if owner is None:
            owner = min(members, key=lambda member: (load[member], member))  # noqa: PLW2901 - the one it gets
            load[owner] += 1
        found.append(owner)
    return found


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
        wanted = {*context.source_topics, context.catalogue.counts.name, *context.side_topics}
        # A worker with another list of topics gets nothing until it is started again with this one.
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
        for part, owner in zip(parts, divide(len(parts), members, before), strict=True):
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
