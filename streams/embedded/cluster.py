"""Several nodes of the embedded Kafka as one cluster, each with its own process and data directory.

A majority must be up, since all are controllers too. Every topic has a replica on each node and a write needs two in sync, as on
a cluster that must survive the loss of a node.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from streams.embedded import java, machine
from streams.embedded.broker import EmbeddedKafka, make_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_HEAP_MB = 512
_NODES = 3


class EmbeddedCluster:
    """Three nodes on 127.0.0.1; a context manager.

    Args:
        directory: Where each node has a data directory.
    """

    def __init__(self, directory: Path) -> None:
        ports = _free_ports(2 * _NODES)
        controllers = dict(zip(range(1, _NODES + 1), ports[_NODES:], strict=True))
        identity = make_uuid()
        self.nodes = tuple(
            _Node(directory / f"node-{number}", ports[number - 1], number, controllers, identity)
            for number in controllers
        )

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` of every node, separated by commas."""
        return ",".join(node.bootstrap for node in self.nodes)

    def __enter__(self) -> Self:
        # Concurrently, since none is ready before it has reached another.
        with ThreadPoolExecutor(_NODES) as starting:
            try:
                list(starting.map(EmbeddedKafka.start, self.nodes))
            except BaseException:
                self._stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        # Concurrently, since the last one alone would wait for a controller.
        with ThreadPoolExecutor(_NODES) as stopping:
            list(stopping.map(EmbeddedKafka.stop, self.nodes))


class _Node(EmbeddedKafka):
    """One node; its ports are fixed, because the others know it by them.

    Args:
        data_dir: Folder for all its data.
        port: The port for clients.
        number: Its id in the cluster.
        controllers: The port of each node's controller.
        cluster_id: The id of its cluster.
    """

    def __init__(self, data_dir: Path, port: int, number: int, controllers: Mapping[int, int], cluster_id: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        super().__init__(data_dir, port=port, heap_mb=_HEAP_MB, java_options=java.SHORT_LIVED)
        own = f"{machine.LOOPBACK}:{controllers[number]}"
        voters = ",".join(f"{node}@{machine.LOOPBACK}:{controller}" for node, controller in controllers.items())
        self._cluster_id = cluster_id
        self._membership = {
            "node.id": number,
            "controller.quorum.voters": voters,
            "listeners": f"CLIENTS://{machine.LOOPBACK}:{port},CONTROLLER://{own}",
            "default.replication.factor": _NODES,
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": _NODES,
            "transaction.state.log.replication.factor": _NODES,
            "transaction.state.log.min.isr": 2,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
        }

    def _new_cluster_id(self) -> str:
        return self._cluster_id

    def _write(self, name: str, text: str) -> None:
        # If a setting is given twice, Java uses the last value.
        if name in ("format.properties", "kafka.properties"):
            text += "".join(f"{setting}={value}\n" for setting, value in self._membership.items())
        super()._write(name, text)


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(machine.free_port())
    return list(ports)
