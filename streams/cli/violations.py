"""`milestones violations`: contradictions among the events of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schemas.codec import decode_violations
from schemas.outputs import VIOLATION_MESSAGES
from streams.cli.options import IDENTIFIER, VIN, with_settings
from streams.cli.printable import printable
from streams.cli.running import run
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest
from streams.lookup.finder import Finder

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.option("--order", "order_id", type=IDENTIFIER, default=None, help="Only this order.")
@click.option("--vin", type=VIN, default=None, help="Only orders of this vehicle.")
@click.option("--source", type=IDENTIFIER, default=None, help="Only events of this source.")
@click.option("--kind", type=click.Choice(sorted(VIOLATION_MESSAGES)), default=None, help="Only of this kind.")
@click.option("--json", "as_json", is_flag=True, help="One order per line, as on the topic.")
@with_settings
def command(
    order_id: str | None,
    vin: str | None,
    source: str | None,
    kind: str | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show the orders whose events contradict each other, and how."""
    topic = catalogue_of(settings).violations
    latest = run(settings, read_latest(settings, [(topic.name, number) for number in range(topic.partitions)]))
    orders = None if vin is None else {vin, *run(settings, _orders_of(settings, vin))}
    shown = 0
    for key, value in sorted((key.decode(), value) for key, value in latest.items()):
        if orders is not None and key not in orders:
            continue
        found = [
            each
            for each in decode_violations(value).violations
            if source in (None, each.source) and kind in (None, each.kind) and order_id in (None, key, each.order_id)
        ]
        shown += len(found)
        if as_json and found:
            click.echo(value.decode())
        elif not as_json:
            for violation in found:
                of_order = f"  (order {printable(violation.order_id)})" if violation.order_id else ""
                click.echo(f"{key}  {violation.kind}  {violation.source} {violation.id}  {violation.message}{of_order}")
    if not shown:
        click.echo("no such violations" if any(latest.values()) else "no violations", err=True)


async def _orders_of(settings: Settings, vin: str) -> list[str]:
    async with Finder.opened(settings) as finder:
        await finder.read_on()
        return await finder.orders_with(vin=vin)
