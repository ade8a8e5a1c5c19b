"""`milestones doctor`: what is missing or wrong on this machine or cluster, each with its cure."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from streams.checkup import Finding, failed, note, ok, wrong
from streams.checkup.machine import machine_findings, orders_finding, state_finding
from streams.cli.options import cluster_options
from streams.domain.scopes.limit_usage import WARN_AT
from streams.embedded import probe
from streams.errors import ExpectedError
from streams.installation import load_settings
from streams.kafka.rights import ROLES, Role
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MARKS = {"ok": ("ok", "green"), "wrong": ("WRONG", "red"), "note": ("note", "yellow")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default=None,
    help="Check only the permissions that this role needs, without using them.",
)
@cluster_options
def command(
    as_json: bool,
    role: Role | None,
    bootstrap_servers: str | None,
    config: Path | None,
) -> int:
    """Show what is missing or wrong, each with its cure.

    Checks this machine, and the cluster if one is named, by option or setting, or if one answers at the default address. Exit
    code 1 if something is wrong, 2 if the settings are, which no other command would accept either.
    """
    findings: list[Finding] = []

    def take(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _print(finding)

    for finding in machine_findings():
        take(finding)
    refused: ExpectedError | None = None
    try:
        settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    except ExpectedError as error:
        refused = error
        take(failed("settings", error))
    else:
        _look_at_cluster(settings, bootstrap_servers, role, take)
    healthy = all(finding.state != "wrong" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in findings]}, indent=2))
    if refused is not None:
        raise refused
    return 0 if healthy else 1


def _look_at_cluster(
    settings: Settings, bootstrap_servers: str | None, role: Role | None, take: Callable[[Finding], None]
) -> None:
    take(ok("settings", f"timezone {settings.timezone}, {len(settings.rule)} rules, {len(settings.target)} targets"))
    take(state_finding(settings))
    orders = orders_finding(settings)
    if orders is not None:
        take(orders)
    default = Settings.model_fields["bootstrap_servers"].default
    if settings.bootstrap_servers == default and bootstrap_servers is None and not _answers(default):
        take(
            note("cluster", f"none named, none at {default}; `milestones demo` and `milestones broker` bring their own")
        )
        return
    asyncio.run(_check_cluster(settings, role, take))
    if role is None:
        _look_at_limits(settings, take)


def _look_at_limits(settings: Settings, take: Callable[[Finding], None]) -> None:
    from streams.cli.webview import limits_of_web_view  # noqa: PLC0415 - only where a cluster is looked at

    uses = limits_of_web_view(settings)
    if uses is None:
        take(note("limits", "not looked at: no web view runs here; `milestones scopes` counts"))
    elif not uses:
        take(ok("limits", f"less than {WARN_AT:.0%} of each is used"))
    for use in uses or ():
        cure = "list the values that matter under [values] and count again with milestones rebuild, or raise [limits]"
        take(wrong("limits", use.line(), cure) if use.used > use.limit else note("limits", use.line()))


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return probe.answers(host, int(port))


async def _check_cluster(settings: Settings, role: Role | None, take: Callable[[Finding], None]) -> None:
    from streams.checkup.cluster import cluster_findings  # noqa: PLC0415 - a broken Kafka client is no obstacle before

    async for finding in cluster_findings(settings, role):
        take(finding)


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    click.echo(f"{click.style(f'{mark:<6}', fg=colour)} {finding.name:<13} {finding.detail}")
    if finding.cure:
        click.echo(f"{'':<20} -> {finding.cure}")
