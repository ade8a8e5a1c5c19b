"""Options that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(function: F) -> F:
    """Adds `--bootstrap-servers` and `--config`."""
    function = click.option(
        "--config", type=click.Path(path_type=Path), default=None, help="Settings file (default: milestones.toml)."
    )(function)
    return click.option(
        "--bootstrap-servers", metavar="HOST:PORT", default=None, help="Kafka (default: 127.0.0.1:9092)."
    )(function)
