"""The rights that each role needs on a cluster with an authoriser, from the topic catalogue and the settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.topics import Catalogue, Topic
    from streams.settings import Settings

Role = Literal["worker", "web", "publisher", "operator", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)


class Resource(Enum):
    """The kind of resource; the number is Kafka's."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.name.lower().replace("_", " ")


class Operation(Enum):
    """An operation; the number is Kafka's. Read and Write include Describe, AlterConfigs includes DescribeConfigs."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11

    @property
    def words(self) -> str:
        """Its name in Kafka's tools."""
        return self.name.title().replace("_", "")


@dataclass(frozen=True)
class Right:
    """Operations on one resource.

    Attributes:
        is_prefix: Whether `name` stands for all names that begin with it.
    """

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    is_prefix: bool = False


def transactional_prefix(settings: Settings) -> str:
    """The prefix of an installation's transactional ids."""
    return f"{settings.output_prefix}milestones-"


def rights_of(role: Role, settings: Settings) -> tuple[Right, ...]:
    """The rights a role needs, with each resource once."""
    catalogue = settings.catalogue
    sources = catalogue.sources()
    look, write = (Operation.READ,), (Operation.WRITE,)
    transactions = Right(Resource.TRANSACTIONAL_ID, transactional_prefix(settings), write, is_prefix=True)
    match role:
        case "publisher":
            return _topics(sources, write)
        case "web":
            read = [topic for topic in catalogue.public() if topic not in sources]
            if not settings.web_orders:
                return _topics(read, look)
            # To find the sources' ends at an earlier moment, and show orders and units as of then.
            ends = _topics(catalogue.published.values(), (Operation.DESCRIBE,))
            return *_topics([*read, catalogue.ledger], look), *ends
        case "reader":
            return _topics(catalogue.all(), look)
        case "worker":
            return (
                *(Right(Resource.TOPIC, topic.name, _of_worker(topic, catalogue)) for topic in catalogue.all()),
                Right(Resource.GROUP, settings.group_id, look),
                transactions,
            )
        case "operator":
            kept = (Operation.READ, Operation.CREATE, Operation.ALTER_CONFIGS)
            written = {catalogue.quarantine, catalogue.replayed, *sources}
            return (
                *_topics((topic for topic in catalogue.all() if topic not in written), kept),
                *_topics((topic for topic in catalogue.all() if topic in written), (*kept, Operation.WRITE)),
                transactions,
            )


def _of_worker(topic: Topic, catalogue: Catalogue) -> tuple[Operation, ...]:
    """A worker compares every topic with the contract, and reads what it wrote before: that is its state."""
    if topic == catalogue.replayed:
        return Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS
    if topic == catalogue.status:
        return Operation.WRITE, Operation.DESCRIBE_CONFIGS
    if topic in (*catalogue.sources(), catalogue.quarantine):
        return Operation.READ, Operation.DESCRIBE_CONFIGS
    return Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS


def _topics(topics: Iterable[Topic], operations: tuple[Operation, ...]) -> tuple[Right, ...]:
    return tuple(Right(Resource.TOPIC, topic.name, operations) for topic in topics)
