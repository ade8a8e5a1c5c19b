"""Reads `milestones.toml` and the environment; nothing else does.

Order of precedence: command line, `MILESTONES_<NAME>`, the file, the built-in defaults. The file is the one named by
`--config`, else by `MILESTONES_CONFIG`, else `milestones.toml` in the working directory. If there is a file, its rules
replace the built-in ones. There are no built-in targets.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from streams.errors import ExpectedError
from streams.settings import Settings
from streams.settings_sections import RuleSettings
from streams.wrong_values import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


ENVIRONMENT_PREFIX = "MILESTONES_"
FILE_NAME = "milestones.toml"
#: The settings of the demo and of backtests of the story.
STORY: Final = Path(__file__).parent / "data" / "demo.toml"
#: How alike a name must be to be proposed in place of an unknown one.
_ALIKE: Final = 0.75
_BUILT_IN: Final = "built-in defaults"
#: What the standard library says about TOML, in plainer words.
_TOML: Final = (
    (re.compile(r"Cannot (overwrite a value|mutate immutable namespace .*)"), "a key is given twice"),
    (re.compile(r"Cannot declare \('(.*)',\) twice"), r"[\1] is given twice"),
    (re.compile(r"Invalid statement"), "neither a key with its value nor a [section]"),
)
#: Types of settings that a text can express.
_SCALARS: Final = (str, int, float, bool, type(None))
#: What Kubernetes puts into the environment of every pod for each Service, which may be called `milestones-web`.
_OF_A_KUBERNETES_SERVICE: Final = re.compile(
    r"([a-z0-9_]+_)?(service_host=.+|service_port(_[a-z0-9_]+)?=[0-9]+|port=[a-z]+://.+|port_[0-9]+_(tcp|udp|sctp)(_[a-z]+)?=.+)"
)
#: Environment variables of this project that are not settings of the service → what they have to name.
_NOT_SETTINGS: Final = {
    "config": "a settings file",
    "jars": "a folder with the jars of Apache Kafka",
    "maven_repository": "the address of a Maven repository",
    "log_level": "DEBUG, INFO, WARNING or ERROR",
    "instance": "the worker in its consumer group",
    "hot_path": "compiled or python",
    "language": "en or zh",
}
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_HOT_PATHS: Final = ("compiled", "python")


def _built_in_rules() -> tuple[RuleSettings, ...]:
    return (
        RuleSettings(name="daily-1000", metric="deliveries", window="day", scope=("model",), exceeds=1000, first=True),
        RuleSettings(
            name="national-day-6000",
            metric="orders_placed",
            window="holiday:national-day",
            scope=("model",),
            exceeds=6000,
        ),
        RuleSettings(name="daily-record", metric="deliveries", window="day", scope=("model",), record=True),
    )


def read_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Reads the settings and checks each by itself; `streams.installation.load_settings` checks them together.

    Args:
        config: The file named on the command line.
        overrides: Values given on the command line, by setting; `None` values are not given.

    Raises:
        ExpectedError: The file is missing or not TOML, a key is unknown, or a value is invalid: one line that names the key and
            where it is set.
    """
    refuse_impossible_variables()
    values, origin = _from_file(config)
    sources = dict.fromkeys(values, origin)
    for name, about in Settings.model_fields.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in os.environ:
            if not _is_scalar(about.annotation):
                raise ExpectedError(f"{variable}: only a file can give {name}: set it in {FILE_NAME}")
            values[name], sources[name] = os.environ[variable], variable
    for name, value in (overrides or {}).items():
        if value is not None:
            values[name], sources[name] = value, f"--{name.replace('_', '-')}"
    _refuse_unknown_variables()
    try:
        made = Settings(**values)
    except ValidationError as error:
        raise ExpectedError(_one_line(error, sources, origin)) from None
    if origin != _BUILT_IN:
        return made
    # One of the built-in rules is about a Chinese holiday.
    counted = {f"holiday:{name}" for name in made.counted_holidays}
    fitting = tuple(rule for rule in made.rule if not rule.window.startswith("holiday:") or rule.window in counted)
    return made.model_copy(update={"rule": fitting})


def _from_file(config: Path | None) -> tuple[dict[str, Any], str]:
    named = config or (Path(os.environ["MILESTONES_CONFIG"]) if os.environ.get("MILESTONES_CONFIG") else None)
    path = named or Path(FILE_NAME)
    if named is None and not path.exists():
        return {"rule": _built_in_rules()}, _BUILT_IN
    try:
        return toml_of(path.read_bytes()), str(path)
    except OSError as error:
        raise ExpectedError(f"{path}: {error.strerror or error}; name a readable file with --config") from None
    except ValueError as error:
        raise ExpectedError(f"{path}: {error}") from None


def toml_of(content: bytes) -> dict[str, Any]:
    """What a TOML file says, also if an editor has put a byte order mark before it.

    Raises:
        ValueError: It is not TOML in UTF-8; the message says so in one line.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not in UTF-8: save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        for said, plainer in _TOML:
            message = said.sub(plainer, message)
        raise ValueError(f"not valid TOML: {message}") from None


def _is_scalar(annotation: Any) -> bool:
    """Whether a text can express each value of a setting."""
    if get_origin(annotation) is Literal or annotation in _SCALARS:
        return True
    return get_origin(annotation) in {Union, UnionType} and all(map(_is_scalar, get_args(annotation)))


def refuse_impossible_variables() -> None:
    """Checks the variables that are not settings; one that is empty would be taken for one that is not set.

    Raises:
        ExpectedError: One is empty, or not one of the values that it may have.
    """
    for name, what in _NOT_SETTINGS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        value = os.environ.get(variable)
        if value is None:
            continue
        if not value.strip():
            raise ExpectedError(f"{variable} is empty: name {what}, or unset it")
        known = {"log_level": _LOG_LEVELS, "hot_path": _HOT_PATHS}.get(name)
        if known is not None and (value.upper() if name == "log_level" else value) not in known:
            raise ExpectedError(f"{variable}: {value!r} is not possible: name {what}, or unset it")


def _refuse_unknown_variables() -> None:
    for variable in os.environ:
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if _OF_A_KUBERNETES_SERVICE.fullmatch(f"{name}={os.environ[variable]}"):
            continue
        if name not in Settings.model_fields and name not in _NOT_SETTINGS:
            near = _meant(name, [*Settings.model_fields, *_NOT_SETTINGS])
            correct = f"did you mean {ENVIRONMENT_PREFIX}{near.upper()}?" if near else "unset it or correct its name"
            raise ExpectedError(f"{variable}: there is no setting called {name}; {correct}")


def _one_line(error: ValidationError, sources: Mapping[str, str], origin: str) -> str:
    first = error.errors()[0]
    location: Sequence[int | str] = first["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    where = sources.get(str(location[0]), origin) if location else origin
    message = in_words(first)
    if first["type"] == "extra_forbidden":
        near = _meant(str(location[-1]), _known_beside(location))
        correct = f"did you mean {near}?" if near else "remove it or correct its name"
        message = f"there is no such setting; {correct}"
    if first["type"] == "tuple_type" and len(location) == 1 and _section_of(Settings.model_fields[key].annotation):
        message = f"write [[{key}]], in double brackets, before each"
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return f"{where}: {f'{key}: ' if key else ''}{message}{more}"


def _meant(name: str, known: Iterable[str]) -> str | None:
    """The setting whose name was probably misspelt."""
    plain = name.casefold().replace("-", "_").removeprefix(ENVIRONMENT_PREFIX.casefold())
    return next(iter(get_close_matches(plain, known, 1, _ALIKE)), None)


def _known_beside(location: Sequence[int | str]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return [about.alias or name for name, about in section.model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting holds, also if it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)


def night_rules(name: str) -> Path:
    """The demo's settings for the night of a start of sale."""
    return STORY.with_name(f"demo-{name}.toml")


def config_or_story(config: Path | None, story: Path = STORY) -> Path | None:
    """The settings file named, else `None` if one is found by default, else the story's rules and targets, by default the SU7's."""
    if config is not None or os.environ.get("MILESTONES_CONFIG") or Path(FILE_NAME).exists():
        return config
    return story
