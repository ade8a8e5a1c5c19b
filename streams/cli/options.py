"""Options shared by all commands."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, cast
from zoneinfo import ZoneInfo

import click

from schemas.instants import micros_of, parse_instant
from schemas.texts import tidy
from streams.installation import load_settings
from streams.settings_file import ENVIRONMENT_PREFIX
from streams.wording.languages import LANGUAGES

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

#: What offsets have room for.
_GREATEST: Final = 2**63 - 1

F = TypeVar("F", bound=Callable[..., Any])


def business_text(instant: str, timezone: str) -> str:
    """An RFC 3339 instant as business time with its offset: `2024-10-07 18:00:00+08:00`."""
    return parse_instant(instant).astimezone(ZoneInfo(timezone)).isoformat(" ", "seconds")


class Number(click.FloatRange):
    """A number within bounds; NaN, which no bound excludes, and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, if it is one."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number{_bounds(self)}", param, ctx)
        return number


class WholeNumber(click.IntRange):
    """A whole number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, if it is one."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is no whole number{_bounds(self)}", param, ctx)
        if number > _GREATEST:
            self.fail(f"{value!r} is too large: give at most {_GREATEST:,}", param, ctx)
        return number


def _bounds(numbers: click.FloatRange | click.IntRange) -> str:
    """The bounds in words; only a lower one may be open."""
    if numbers.max is not None:
        return f" from {numbers.min or 0:,} to {numbers.max:,}"
    return f" {'above' if numbers.min_open else 'of at least'} {numbers.min or 0:,}"


class GivenText(click.ParamType):
    """A text; an empty one, as of a variable of a script that is not set, would be taken for no option at all."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, if there is any."""
        if not str(value).strip():
            refuse_empty(self, param, ctx)
        return str(value)


def refuse_empty(of: click.ParamType, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
    """Ends the command, since a value is empty that has no meaning then."""
    may_be_left_out = isinstance(param, click.Option) and not param.required
    of.fail(f"it is empty: give a value{', or leave the option out' if may_be_left_out else ''}", param, ctx)


class TidyText(click.ParamType):
    """The number of an order, or an id, as it is counted: without spaces around it, its Unicode in normal form.

    Args:
        in_capitals: Whether it is a VIN, which is counted in capitals.
    """

    name = "text"

    def __init__(self, *, in_capitals: bool = False) -> None:
        self._in_capitals = in_capitals

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is counted, if there is any."""
        text = tidy(str(value))
        if not text:
            refuse_empty(self, param, ctx)
        return text.upper() if self._in_capitals else text


TEXT: Final = GivenText()
IDENTIFIER: Final = TidyText()
VIN: Final = TidyText(in_capitals=True)


class FilePath(click.Path):
    """A path; an empty one, as of a variable that is not set, would be the current directory."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, if it is one."""
        if not os.fspath(value):
            refuse_empty(self, param, ctx)
        return super().convert(value, param, ctx)


class CalendarDate(click.ParamType):
    """A civil date, such as 2024-10-07."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date, if it is one."""
        with contextlib.suppress(ValueError):
            if _DATE.fullmatch(value):
                return date.fromisoformat(value)
        return self.fail(f"{value!r} is no date, such as 2024-10-07.", param, ctx)


def cluster_options(function: F) -> F:
    """Adds `--bootstrap-servers`, `--config` and `--timeout`."""
    function = click.option(
        "--timeout",
        type=Number(1, 86_400),
        metavar="SECONDS",
        expose_value=False,
        callback=_set_timeout,
        help="Give up, with exit code 3, if the cluster does not answer for this long (default: 30).",
    )(function)
    function = click.option(
        "--config", type=FilePath(), default=None, help="Settings file (default: milestones.toml)."
    )(function)
    return click.option(
        "--bootstrap-servers", type=TEXT, metavar="HOST:PORT", default=None, help="Kafka (default: 127.0.0.1:9092)."
    )(function)


def with_settings(function: F) -> F:
    """Adds the options of `cluster_options`, and calls the function with the `settings` that they lead to."""

    @functools.wraps(function)
    def loaded(*args: Any, bootstrap_servers: str | None, config: Path | None, **options: Any) -> Any:
        return function(*args, settings=load_settings(config, {"bootstrap_servers": bootstrap_servers}), **options)

    return cluster_options(cast("F", loaded))


def encoding_option(function: F) -> F:
    """Adds `--encoding`, the encoding of a table; empty if it is to be recognised."""
    return click.option(
        "--encoding",
        type=TEXT,
        default=None,
        metavar="NAME",
        callback=_known_encoding,
        help="Encoding of a CSV file, such as windows-1252 or big5; Unicode and GBK are recognised.",
    )(function)


def language_option(function: F) -> F:
    """Adds `--language`, one of `LANGUAGES`, in which sentences about milestones and alerts are printed."""
    return click.option(
        "--language",
        type=click.Choice(LANGUAGES),
        default=LANGUAGES[0],
        envvar=f"{ENVIRONMENT_PREFIX}LANGUAGE",
        help="Language of the sentences about milestones (default: MILESTONES_LANGUAGE, else en).",
    )(function)


def _known_encoding(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if value is None:
        return ""
    try:
        b"a".decode(value, "replace")
    except (LookupError, UnicodeError):
        raise click.BadParameter(
            f"no encoding is called {value!r}; such as gbk, big5, windows-1252, shift_jis", context, parameter
        ) from None
    return value


def _set_timeout(_context: click.Context, _parameter: click.Parameter, value: float | None) -> None:
    """Sets it as a setting, so that it also applies to a worker that the command starts."""
    if value is not None:
        os.environ[f"{ENVIRONMENT_PREFIX}CLUSTER_TIMEOUT_S"] = str(value)


def instant_us(text: str, option: str) -> int:
    """Microseconds since 1970 of a time given on the command line.

    Raises:
        UsageError: It is not a date and time with an offset.
    """
    try:
        return micros_of(parse_instant(text))
    except ValueError as error:
        raise click.UsageError(f"{option} {text}: {error}") from None
