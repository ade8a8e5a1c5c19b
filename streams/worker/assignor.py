"""Assigns each ledger partition, with all source partitions it reads, and each totals partition to one worker.

Faust's assignor keeps topics together only if they have equally many partitions; source topics differ, and grow. A standby copy of a
ledger partition is assigned as one of its changelog: Faust passes that on to the worker, and Kafka does not know of it.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
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


def divide(
    count: int,
    members: Sequence[str],
    before: Mapping[int, str],
    totals: int = 1,
    *,
    copies: Mapping[int, str] | None = None,
) -> list[str]:
    """The owner of each of `count` shares: evenly distributed, with as few moves as that allows.

    Args:
        count: Number of shares; those of the totals come last.
        members: Sorted.
        before: Share → its previous owner.
        totals: Number of shares of the totals. If there are several, they are also distributed evenly among themselves,
            since each is more work than a ledger partition.
        copies: Share → who has a standby copy of it, and so gets it if it has to move.
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
        for preferred, most in product((before, copies or {}), (least, least + 1)):
            for share in group:
                owner = preferred.get(share)
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


def place_copies(owners: Sequence[str], members: Sequence[str], before: Mapping[int, str]) -> list[str]:
    """Who keeps a standby copy of each share, given its owner: evenly distributed, with few moves; empty where there is no one else.

    The copies of one owner's shares are spread over all others, so that the shares are even again if it is lost.

    Args:
        owners: Of each share.
        members: Sorted.
        before: Share → who has a copy of it.
    """
    if len(members) == 1:
        return [""] * len(owners)
    most = -(-len(owners) // len(members))
    most_of = {owner: -(-number // (len(members) - 1)) for owner, number in Counter(owners).items()}
    load = dict.fromkeys(members, 0)
    load_of: Counter[tuple[str, str]] = Counter()
    keepers: dict[int, str] = {}

    def place(share: int, keeper: str) -> None:
        keepers[share] = keeper
        load[keeper] += 1
        load_of[owners[share], keeper] += 1

    for share, owner in enumerate(owners):
        keeper = before.get(share, owner)
        if keeper in load and keeper != owner and load[keeper] < most and load_of[owner, keeper] < most_of[owner]:
            place(share, keeper)
    for share, owner in enumerate(owners):
        if share not in keepers:
            others = (member for member in members if member != owner)
            place(
                share,
                min(others, key=lambda member: (load[member] >= most, load_of[owner, member], load[member], member)),
            )
    return [keepers[share] for share in range(len(owners))]


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
        changelog = context.catalogue.ledger.name
        before: dict[int, str] = {}
        copies: dict[int, str] = {}
        for member in members:
            actives = clients[member].assignment.actives
            for index, part in enumerate(parts):
                if any(set(actives.get(topic, ())) & set(numbers) for topic, numbers in part.items()):
                    before.setdefault(index, member)
            copies |= dict.fromkeys(clients[member].assignment.standbys.get(changelog, ()), member)
        assignments = {member: ClientAssignment(actives={}, standbys={}) for member in member_metadata}
        owners = divide(len(parts), members, before, len(context.read_by_totals), copies=copies)
        for part, owner in zip(parts, owners, strict=True):
            for topic, numbers in part.items():
                if numbers:
                    assignments[owner].actives.setdefault(topic, []).extend(numbers)
        if context.settings.standby_copies:
            for number, keeper in enumerate(place_copies(owners[: context.settings.partitions], members, copies)):
                if keeper:
                    assignments[keeper].standbys.setdefault(changelog, []).append(number)
        groups = {topic: index for index, part in enumerate(parts) for topic in part}
        return self._protocol_assignments(
            assignments,
            self._get_changelog_distribution(assignments),
            self._get_external_topic_distribution(assignments),
            groups,
        )

    def standbys(self) -> set[int]:
        """The ledger partitions of which this worker is to keep a copy."""
        changelog = self.app.context.catalogue.ledger.name
        return {number for topic, number in self.assigned_standbys() if topic == changelog}
