"""Options that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from schemas.instants import micros_of, parse_instant

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(function: F) -> F:
    """Adds `--bootstrap-servers` and `--config`."""
    function = click.option(
        "--config", type=click.Path(path_type=Path), default=None, help="Settings file (default: milestones.toml)."
    )(function)
    return click.option(
        "--bootstrap-servers", metavar="HOST:PORT", default=None, help="Kafka (default: 127.0.0.1:9092)."
    )(function)


def instant_us(text: str, option: str) -> int:
    """Microseconds since 1970 of a time given on the command line.

    Raises:
        UsageError: It is no date and time with an offset.
    """
    try:
        return micros_of(parse_instant(text))
    except ValueError as error:
        raise click.UsageError(f"{option} {text}: {error}") from None
