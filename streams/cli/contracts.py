"""`milestones contracts`: what travels on the topics, as JSON Schemas and an AsyncAPI document."""

from __future__ import annotations

from pathlib import Path

import click

import schemas
from schemas.export import differences, documents, read
from schemas.export import export as write
from streams.cli.options import FilePath
from streams.errors import ExpectedError

#: The documents that come with this version of the program.
CHECKED_IN = Path(schemas.__file__).parent / "json"


@click.group(name="contracts")
def command() -> None:
    """Export what travels on the topics, or show what has changed."""


@command.command()
@click.argument("directory", metavar="DIR", type=FilePath(file_okay=False))
def export(directory: Path) -> None:
    """Write the JSON Schemas and asyncapi.json into DIR.

    Other files there are kept.
    """
    try:
        write(directory)
    except OSError as error:
        raise ExpectedError(f"{directory} cannot be written: {error.strerror or error}; name another DIR") from None
    for name in documents():
        click.echo(directory / name)


@command.command()
@click.argument("directory", metavar="[DIR]", required=False, type=FilePath())
@click.option("--incompatible-only", is_flag=True, help="Leave out changes that do not affect others.")
def check(directory: Path | None, incompatible_only: bool) -> None:
    """Compare an earlier export in DIR with this version.

    Prints one line per change. Without DIR, compares the documents that come with the program. Exit code 1 if anything has
    changed.
    """
    old = _exported(directory or CHECKED_IN)
    try:
        found = differences(old)
    except ValueError as error:
        raise ExpectedError(f"{directory or CHECKED_IN}: {error}; export the documents again") from None
    found = [difference for difference in found if not (incompatible_only and difference.compatible)]
    for difference in found:
        click.echo(difference)
    if found:
        breaking = sum(not difference.compatible for difference in found)
        changes = "1 change" if len(found) == 1 else f"{len(found)} changes"
        raise ExpectedError(f"{changes}, {breaking or 'none'} incompatible", exit_code=1)
    click.echo(f"no {'incompatible ' if incompatible_only else ''}change", err=True)


def _exported(directory: Path) -> dict[str, dict[str, object]]:
    try:
        found = read(directory)
    except OSError as error:
        raise ExpectedError(f"{directory} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ExpectedError(f"{error}; export the documents again") from None
    if not found:
        raise ExpectedError(f"{directory} has no exported documents; `milestones contracts export DIR` writes them")
    return found
