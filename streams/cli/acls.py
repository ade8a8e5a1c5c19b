"""`milestones topics acls`: the permissions that a role needs, for cluster administrators."""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from typing import TYPE_CHECKING

import click

from streams.cli.options import TEXT, cluster_options
from streams.errors import ExpectedError
from streams.kafka.rights import ROLES, Operation, Resource, Right, Role, rights_of
from streams.settings_file import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PRINCIPAL = re.compile(r"User:[^\s].*")
#: A valid Kubernetes name.
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_STRIMZI_TYPES = {Resource.TOPIC: "topic", Resource.GROUP: "group", Resource.TRANSACTIONAL_ID: "transactionalId"}


@click.command(name="acls")
@click.option("--principal", type=TEXT, required=True, metavar="User:NAME", help="Who gets the permissions.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="The role.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["kafka-acls", "strimzi"]),
    default="kafka-acls",
    help="Commands of Kafka's own tool, or a KafkaUser of Strimzi.",
)
@cluster_options
def command(principal: str, role: Role, style: str, bootstrap_servers: str | None, config: Path | None) -> None:
    """Print the permissions that a role needs.

    They follow from the names in the settings; no cluster is contacted. The role worker counts; web shows; publisher publishes events; reader runs read-only commands; operator creates
    topics, replays, quarantines, and looks.
    """
    settings = read_settings(config, {"bootstrap_servers": bootstrap_servers})
    if not _PRINCIPAL.fullmatch(principal):
        raise click.UsageError(f"--principal {principal}: write User:NAME, such as User:milestones")
    rights = rights_of(role, settings)
    lines = (
        _commands(rights, principal, settings.bootstrap_servers)
        if style == "kafka-acls"
        else _kafka_user(rights, principal.removeprefix("User:"))
    )
    for line in lines:
        click.echo(line)


def _commands(rights: Iterable[Right], principal: str, servers: str) -> Iterator[str]:
    """The commands, one for all resources with the same permissions."""
    alike: dict[tuple[Resource, tuple[Operation, ...], bool], list[str]] = defaultdict(list)
    for right in rights:
        alike[right.resource, right.operations, right.is_prefix].append(right.name)
    for (resource, operations, is_prefix), names in alike.items():
        option = f"--{resource.words.replace(' ', '-')}"
        words = ["kafka-acls", "--bootstrap-server", servers, "--command-config", "admin.properties", "--add"]
        words += ["--allow-principal", principal]
        for operation in operations:
            words += ["--operation", operation.words]
        for name in names:
            words += [option, name]
        if is_prefix:
            words += ["--resource-pattern-type", "prefixed"]
        yield shlex.join(words)


def _kafka_user(rights: Iterable[Right], name: str) -> Iterator[str]:
    if not _OBJECT_NAME.fullmatch(name):
        raise ExpectedError(f"--principal: {name} is no name of a KafkaUser: a-z 0-9 - and dots, at most 253 of them")
    yield "apiVersion: kafka.strimzi.io/v1beta2"
    yield "kind: KafkaUser"
    yield "metadata:"
    yield f"  name: {name}"
    yield "  labels:"
    yield "    strimzi.io/cluster: my-cluster  # the name of your Kafka"
    yield "spec:"
    yield "  authentication:"
    yield "    type: scram-sha-512  # or tls"
    yield "  authorization:"
    yield "    type: simple"
    yield "    acls:"
    for right in rights:
        kind = "prefix" if right.is_prefix else "literal"
        yield f"      - resource: {{type: {_STRIMZI_TYPES[right.resource]}, name: {json.dumps(right.name)}, patternType: {kind}}}"
        yield f"        operations: [{', '.join(operation.words for operation in right.operations)}]"
