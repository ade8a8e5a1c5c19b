"""`milestones rebuild`: recounts everything next to the live installation, and shows what differs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from streams.cli.operators import operator
from streams.cli.options import cluster_options
from streams.cli.printable import as_json, printable
from streams.cli.progress import watched
from streams.cli.running import run
from streams.errors import ExpectedError
from streams.installation import load_settings
from streams.kafka.clients import quiet_clients
from streams.operations.rebuild import as_it_is, check_sources, counted_again
from streams.operations.rebuild_diff import RebuildDifference, differences

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

_KINDS = {"milestone": "milestones", "row": "window rows"}


@click.command()
@click.option("--output-prefix", required=True, metavar="X", help="Prefix of the topics that are written.")
@click.option(
    "--against", metavar="PREFIX", default=None, help="Prefix of the live ones (default: that of the settings)."
)
@click.option("--diff", is_flag=True, help="Compare with the live ones at the end; exit code 1 if they differ.")
@click.option("--ignore-quarantine", is_flag=True, help="Also count what the live installation skips.")
@click.option("--incomplete", is_flag=True, help="Count what is left of sources whose beginning was removed.")
@click.option("--json", "as_lines", is_flag=True, help="The result as one JSON object.")
@cluster_options
def command(
    output_prefix: str,
    against: str | None,
    diff: bool,
    ignore_quarantine: bool,
    incomplete: bool,
    as_lines: bool,
    bootstrap_servers: str | None,
    config: Path | None,
) -> int:
    """Count everything again, under another output prefix.

    Counts from the source topics; the live installation is not touched. Use it to see the effect of other rules, scopes or another time zone (--config), or to
    switch to them. The topics of the prefix are created; a worker runs until it has applied everything that was there at the
    start. If topics of the prefix exist, it continues from them.

    Milestones are raised only on the topics of the prefix, where events not loaded as history count as news. Let subscribers
    start at the end of that topic after this has finished.
    """
    live = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    live = live.model_copy(update={"output_prefix": live.output_prefix if against is None else against})
    other = load_settings(config, {"bootstrap_servers": bootstrap_servers, "output_prefix": output_prefix})
    if other.output_prefix == live.output_prefix:
        raise ExpectedError(
            f"--output-prefix {output_prefix!r} is that of the live installation: take another, or name the live one's with --against"
        )
    by = None if ignore_quarantine else operator()
    records, found = run(live, _rebuild(live, other, config, by, diff=diff, incomplete=incomplete))
    if as_lines:
        click.echo(as_json(_document(live, other, records, found)))
    else:
        click.echo(f"{records:,} records counted under output_prefix {other.output_prefix!r}")
        for difference in found or ():
            click.echo(printable(_line(difference, other.output_prefix)))
    if found is None:
        return 0
    counts = Counter(difference.of for difference in found)
    parts = [f"{count:,} {_KINDS[of]}" for of, count in counts.items()]
    click.echo(f"{' and '.join(parts)} differ" if parts else "no difference", err=True)
    return 1 if found else 0


async def _rebuild(
    live: Settings, other: Settings, config: Path | None, by: str | None, *, diff: bool, incomplete: bool
) -> tuple[int, list[RebuildDifference] | None]:
    live = await as_it_is(live)
    firsts = await check_sources(other)
    if firsts and not incomplete:
        topic, partition, first = firsts[0]
        more = f" (and {len(firsts) - 1} more source partitions)" if len(firsts) > 1 else ""
        raise ExpectedError(
            f"history is incomplete: {topic}-{partition} begins at offset {first}{more}, earlier records were deleted and would "
            "not be counted; --incomplete counts what is left",
            exit_code=1,
        )
    # Clients would log that newly created topics have no leader yet.
    with quiet_clients(), watched() as listener:
        async with counted_again(
            live, other, config, by, listener, incomplete_by=operator() if incomplete else None
        ) as records:
            listener.say("comparing")
            return records, await differences(live, other) if diff else None


def _line(difference: RebuildDifference, prefix: str) -> str:
    ours, theirs = difference.live, difference.other
    if theirs is None:
        return f"only live     {difference.of:<9}  {difference.id}  {_value(difference, ours)}".rstrip()
    if ours is None:
        return f"only {prefix:<8} {difference.of:<9}  {difference.id}  {_value(difference, theirs)}".rstrip()
    if _value(difference, ours) == _value(difference, theirs):
        what = "other hours" if ours.get("by_hour") != theirs.get("by_hour") else "other targets"
        return f"{what:<13} {difference.of:<9}  {difference.id}  {_value(difference, ours)}"
    return (
        f"other         {difference.of:<9}  {difference.id}  "
        f"live {_value(difference, ours)}, {prefix} {_value(difference, theirs)}"
    )


def _value(difference: RebuildDifference, side: dict[str, Any] | None) -> str:
    if side is None:
        return ""
    if difference.of == "row":
        return f"{side['count']:,}"
    return "" if f"/{side['period']}/" in difference.id else str(side["period"])


def _document(live: Settings, other: Settings, records: int, found: list[RebuildDifference] | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "live": live.output_prefix,
        "output_prefix": other.output_prefix,
        "records": records,
    }
    if found is not None:
        document["equal"] = not found
        document["differences"] = [{"of": one.of, "id": one.id, "live": one.live, "other": one.other} for one in found]
    return document
