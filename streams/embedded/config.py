"""The files from which a single Kafka node starts: its configuration and that of its log.

Paths in them are relative to the folder in which the broker runs: Kafka splits `log.dirs` at commas and reads its configuration
as Latin-1, so some absolute paths could not be expressed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.embedded.machine import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

NODE_ID = 1


@dataclass(frozen=True)
class BrokerListener:
    """An additional listener, next to the one without authentication.

    Attributes:
        name: Letters, such as `SCRAM`.
        protocol: SSL, SASL_PLAINTEXT or SASL_SSL.
        properties: Kafka's settings for it (certificates, mechanisms, users), without the prefix `listener.name.<name>.`.
        advertised: HOST:PORT that clients are told to connect to; if empty, the address where it listens.
    """

    name: str
    protocol: str
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)
    advertised: str = ""


def server_properties(
    data: str,
    port: int,
    controller_port: int,
    listeners: Mapping[BrokerListener, int] | None = None,
    more: Mapping[str, str] | None = None,
) -> str:
    """Broker and controller in one process, reachable from this machine only.

    Args:
        data: Folder of the topics' data and the cluster's metadata, relative to where the broker runs.
        port: The port for clients without authentication, and for the broker itself.
        controller_port: The port for communication between this node's broker and controller.
        listeners: Further listeners, each with its port.
        more: Further settings of the broker, such as its authoriser.
    """
    listeners = listeners or {}
    listening = "".join(f",{listener.name}://{LOOPBACK}:{number}" for listener, number in listeners.items())
    advertised = "".join(
        f",{listener.name}://{listener.advertised or f'{LOOPBACK}:{number}'}" for listener, number in listeners.items()
    )
    protocols = "".join(f",{listener.name}:{listener.protocol}" for listener in listeners)
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        # A static voter, so that the controller's port may differ at every start.
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
        "listeners": f"CLIENTS://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}{listening}",
        "advertised.listeners": f"CLIENTS://{LOOPBACK}:{port}{advertised}",
        "listener.security.protocol.map": f"CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data,
        # A single node can hold only one replica, also of Kafka's own topics; few partitions of those start quickly.
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        # After a kill -9 the controller takes the restarted broker for a second one until the session of the killed one
        # expires; so it is shorter than the default of 9 s, which is meant for networks.
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 500,
        # Sized for a machine shared with its clients; the defaults are for a dedicated server.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,
    }
    for listener in listeners:
        properties |= {
            f"listener.name.{listener.name.lower()}.{name}": value for name, value in listener.properties.items()
        }
    properties |= more or {}
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def log4j_properties(file_name: str) -> str:
    """Logs everything to one file, which is rolled at 20 MB, with three older files kept."""
    lines = {
        "status": "error",
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": file_name,
        "appender.file.filePattern": f"{file_name}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %c{1}: %m%n",
        "appender.file.policies.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size": "20MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": "3",
        "rootLogger.level": "info",
        "rootLogger.appenderRef.file.ref": "file",
        # Hundreds of lines at every start that repeat the configuration.
        "logger.config.name": "org.apache.kafka.common.config.AbstractConfig",
        "logger.config.level": "warn",
        "logger.server.name": "kafka.server.KafkaConfig",
        "logger.server.level": "warn",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())
