"""Settings that a worker refuses are refused by every command: in the same words, with exit code 2, without a cluster."""

from __future__ import annotations

import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import BaseModel, ValidationError

from streams.cli import COMMANDS, main
from streams.settings import Settings, secret, state_dir
from streams.settings_file import read_settings
from streams.wrong_values import in_words
from tests.support.commands import USES, uses
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RULE = '[[rule]]\nname = "w"\nmetric = "deliveries"\nscope = ["model"]\n'
TARGET = '[[target]]\ntarget_id = "q"\nmetric = "deliveries"\nscope = "model=SU7"\nvalue = 5\n'
FAULTS = {
    f'{RULE}window = "fortnight"\nexceeds = 10\n': "rule 'w': no window is called 'fortnight'; choose from day, week, month, ",
    f'{RULE}window = "holiday:labour-day"\nexceeds = 10\n': "labour-day is not among the holidays of the settings",
    f'{RULE}window = "day"\nexceeds = 10\nreaches = 10\n': "rule 'w': give exceeds or reaches, not both",
    f'{RULE}window = "day"\nexceeds = 1\n{RULE}window = "month"\nexceeds = 1\n': "rule 'w': two rules have this name",
    f'totals_partitions = 2\n{RULE}window = "day"\nleader = true\n': "rule 'w': leader compares scopes, which 2 totals_partitions keep apart; set",
    f'scopes = [["model"]]\n{RULE}window = "day"\nshare = 0.5\n': "rule 'w': share compares with all, which is not counted; add []",
    'holidays = ["国庆节"]\n': "holidays: no calendar has a holiday called '国庆节'; known are ",
    f'{TARGET}period = "quarter:2025-Q1"\n': "target 'q': period: 'quarter:2025-Q1': quarter is not among the windows of the settings; list it there",
    f'{TARGET}period = "month:2025-1"\n': "target 'q': period: 'month:2025-1' is no period; write ",
    f'{TARGET}period = "holiday:national-day:2031"\n': "target 'q': period: 'holiday:national-day:2031': no holiday cal",
    'bootstrap_servers = "kafka://k"\n': "bootstrap_servers: 'kafka://k' is not HOST:PORT, such as k:9092",
    '[topics]\norders = ["a", "b", "a"]\n': "x.toml: topics.orders: a is listed twice",
    '[topics]\norders = ["Orders", "Orders"]\n': "x.toml: topics.orders: Orders is listed twice",
    '[alias.model]\nS7 = "SU7"\nSU7 = "S7"\n': "alias.model: S7 is to be counted as SU7, which is an alias itself",
    '[[campaign]]\nname = "a"\nstart = 1719500040\nhours = 2\n': "campaign[0].start: a date and time with an offset is needed",
    '[[campaign]]\nname = "a"\nstart = 22:00:00\nhours = 2\n': "campaign[0].start: a date and time with an offset is needed",
    "production_since = 2024-11-01T00:00:00Z\n": "production_since: 2024-11-01 00:00:00+00:00 is no date; write YYYY-MM-DD",
    "production_since = 07:00:00\n": "production_since: 07:00:00 is no date; write YYYY-MM-DD",
    'production_since = "2024"\n': "production_since: '2024' is no date; write YYYY-MM-DD",
    '[topics]\norders = ["a"]\ndeliveries = ["b", "a"]\n': "topics: a would be read for orders and for deliveries",
    '[topics]\norders = ["vehicle.deliveries.v1"]\n': "vehicle.deliveries.v1 would be read for orders and for deliv",
    '[topics]\ndeliveries = ["a b"]\n': "topics.deliveries: 'a b' is no name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -",
    '[topics]\ndeliveries = [".."]\n': "topics.deliveries: '..' is no name of a topic",
    "[topics]\norders = []\n": "topics.orders: list at least one topic, or leave the key out",
    f"[topics]\norders = {[f'a{number}' for number in range(65)]}\n": "topics.orders: 65 topics; 64 at most can be read",
    '[topics]\norders = ["a", "vehicle.dead-letters.v1"]\n': "topics: vehicle.dead-letters.v1 is a topic that this se",
    'output_prefix = "x."\n[topics]\norders = "milestones.internal.x.ledger"\n': "ledger is a topic that this service writes",
    '[topics]\norders = "vehicle.targets.v1"\n': "topics: vehicle.targets.v1 is a topic that this service reads for",
    '[topics]\ntargets = ["a"]\n': "topics.targets: there is no such setting",
    'security_protocol = "SASL_SSL"\nsasl_username = "u"\nsasl_password_file = "/no/such"\n': "sasl_password_file: cannot read",
    'security_protocol = "SSL"\nssl_ca_file = "/dev/null"\n': "ssl_ca_file: cannot use /dev/null: it holds no certificates",
    'security_protocol = "SSL"\nssl_certificate_file = "/no/such"\n': "ssl_certificate_file: cannot use /no/such: ",
    'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"\nsasl_token_file = "/dev/null"\n': "null is empty",
    'web_bind = "8080"\n': "web_bind: '8080' is no address; write HOST:PORT",
    'web_trusted_proxies = "proxy"\n': "web_trusted_proxies: 'proxy' does not appear to be",
    "partitions = 4\npartitions = 5\n": "x.toml: not valid TOML: a key is given twice (at line 2, column 15)",
    "[limits]\n[limits]\n": "not valid TOML: [limits] is given twice (at line 2, column 8)",
    "partition = 4\n": "x.toml: partition: there is no such setting; did you mean partitions?",
    "Totals-Partitions = 4\n": "Totals-Partitions: there is no such setting; did you mean totals_partitions?",
    "colour = 4\n": "colour: there is no such setting; remove it or correct its name",
    f'{RULE}window = "day"\nexceed = 10\n': "rule[0].exceed: there is no such setting; did you mean exceeds?",
    "[limits]\nscope = 4\n": "limits.scope: there is no such setting; did you mean scopes?",
    '[rule]\nname = "w"\n': "rule: write [[rule]], in double brackets, before each",
    "min_insync_replicas = 3\nreplication_factor = 2\n": "nothing could be written; raise replication_factor, or lower",
    "partitions = true\n": "partitions: true is neither a number nor a text",
    f'{RULE}window = "day"\nexceeds = true\n': "rule[0].exceeds: true is neither a number nor a text",
    'partitions = "four"\n': "partitions: a whole number is needed",
    'windows = "day"\n': "windows: a list is needed, in square brackets",
    'scopes = ["model"]\n': "scopes[0]: a list is needed, in square brackets",
    'limits = "low"\n': "limits: a table is needed: keys with values",
    "timezone = 8\n": "timezone: a text is needed, in quotes",
    'web_orders = "perhaps"\n': "web_orders: true or false is needed",
    "session_timeout_s = nan\n": "session_timeout_s: a finite number is needed",
    "session_timeout_s = 5\n": "session_timeout_s: at least 6 is needed",
    "web_lag_limit_s = 0\n": "web_lag_limit_s: more than 0 is needed",
    "commit_interval_ms = 5001\n": "commit_interval_ms: at most 5000 is possible",
    'clock = "moon"\n': "clock: choose 'wall' or 'events'",
    'timezone = ["Asia/Shanghai"]\n': "timezone: a text is needed, in quotes",
    '[[rule]]\nmetric = "deliveries"\nwindow = "day"\nexceeds = 3\n': "rule[0].name: it is missing",
    f'[[rule]]\nname = "{"n" * 65}"\nmetric = "deliveries"\nwindow = "day"\nexceeds = 3\n': "rule[0].name: at most 64 characters are",
    f'{TARGET}period = "month:2025-01"\nat = [1.0]\n': "target[0].at[0]: less than 1 is needed",
    "[[rolling]]\ndays = 7\nscopes = []\n": "rolling[0].scopes: at least 1 must be listed",
    f'{RULE.replace("model", "model=SU7")}window = "day"\nexceeds = 3\n': "rule 'w': a scope names dimensions, without values: write [\"model\"], which ",
    f'{RULE.replace("model", "factory")}window = "day"\nexceeds = 3\n': 'scope ["factory"] is not among the scopes of this service, which are ["model"], ',
    '[[campaign]]\nname = "c"\nstart = 9999-12-31T22:00:00+08:00\n': "campaign[0].start: the year is not within 2000-2100",
    '[[campaign]]\nname = "c"\nstart = 2025-06-26\n': "campaign[0].start: not a date and time with an offset",
    '[[campaign]]\nname = "c"\nstart = 2025-06-26T22:00:00\n': "start: a date and time without an offset names no instant",
    'bootstrap_servers = ":9092"\n': "':9092' is not HOST:PORT, such as 127.0.0.1:9092",
    'bootstrap_servers = "a:9092;b:9092"\n': "'a:9092;b:9092' is not HOST:PORT, such as a:9092",
    'bootstrap_servers = "a:9092 b:9092"\n': "'a:9092 b:9092' is not HOST:PORT, such as a:9092",
    'bootstrap_servers = "::1:9092"\n': "'::1:9092' is not HOST:PORT, such as 127.0.0.1:9092",
    'bootstrap_servers = "a:0"\n': "'a:0' is not HOST:PORT, such as a:9092",
    f'bootstrap_servers = "{"a" * 64}.com:9092"\n': "is not HOST:PORT, such as 127.0.0.1:9092",
}
#: Environment variables, and how the line about each begins.
VARIABLES = {
    "MILESTONES_PARTITION": "there is no setting called partition; did you mean MILESTONES_PARTITIONS?",
    "MILESTONES_COLOUR": "there is no setting called colour; unset it or correct its name",
    "MILESTONES_PORT": "there is no setting called port; ",
    "MILESTONES_PARTITIONS": "partitions: a whole number is needed",
    "MILESTONES_CLUSTER_TIMEOUT_S": "cluster_timeout_s: a number is needed",
} | {
    f"MILESTONES_{name.upper()}": f"only a file can give {name}: set it in milestones.toml"
    for name in (
        "windows",
        "scopes",
        "families",
        "holidays",
        "rule",
        "target",
        "topics",
        "values",
        "limits",
        "campaign",
    )
}
#: What Kubernetes puts into the environment for Services called `milestones-web` and `milestones`.
OF_SERVICES = {
    "MILESTONES_WEB_SERVICE_HOST": "10.0.0.1",
    "MILESTONES_WEB_SERVICE_PORT": "80",
    "MILESTONES_WEB_SERVICE_PORT_HTTP": "80",
    "MILESTONES_WEB_PORT": "tcp://10.0.0.1:80",
    "MILESTONES_WEB_PORT_80_TCP": "tcp://10.0.0.1:80",
    "MILESTONES_WEB_PORT_80_TCP_PROTO": "tcp",
    "MILESTONES_WEB_PORT_80_TCP_PORT": "80",
    "MILESTONES_WEB_PORT_80_TCP_ADDR": "10.0.0.1",
    "MILESTONES_SERVICE_HOST": "10.0.0.2",
    "MILESTONES_SERVICE_PORT": "80",
    "MILESTONES_PORT": "tcp://10.0.0.2:80",
}

#: Values that are right for some setting, and wrong for the others.
GARBAGE: Final[tuple[Any, ...]] = (
    "",
    "x",
    "2024-01-01",
    -1,
    0,
    5,
    10**30,
    1.5,
    1e9,
    float("nan"),
    True,
    [],
    {},
    ["x"],
    [["x"]],
    [5],
    {"x": 1},
    "y" * 9999,
)


def section_types() -> Sequence[type[BaseModel]]:
    """The classes of all sections of a settings file."""
    (section,) = Settings.__bases__
    return section.__subclasses__()


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Services take SIGTERM for themselves; here they share a process with the tests."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that ends with 2."""
    monkeypatch.setattr(sys, "argv", ["milestones", *arguments])
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2, arguments
    assert time.monotonic() - began < stretched(8), "it has begun with something before it looked at the settings"
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_command_is_in_the_table() -> None:
    assert USES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("arguments", uses(), ids=" ".join)
def test_every_command_refuses_what_the_worker_refuses_in_its_words(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "x.toml"
    config.write_text(next(iter(FAULTS)), encoding="utf-8")
    of_worker = said(monkeypatch, capsys, "worker", "--config", str(config))
    assert said(monkeypatch, capsys, *arguments, "--config", str(config)) == of_worker


@pytest.mark.parametrize("text", FAULTS, ids=range(len(FAULTS)))
@pytest.mark.parametrize("command", ["worker", "windows"])
def test_each_fault_is_one_line_that_names_it(
    command: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "x.toml"
    config.write_text(text, encoding="utf-8")
    assert FAULTS[text] in said(monkeypatch, capsys, command, "--config", str(config))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_no_value_of_any_setting_is_refused_in_the_words_of_a_library(name: str) -> None:
    keys = {key for about in section_types() for key in about.model_fields}
    inside = [{key: value} for key in keys for value in GARBAGE]
    faults = set()
    for value in (*GARBAGE, *([each] for each in GARBAGE), *inside, *([each] for each in inside)):
        try:
            Settings.model_validate({name: value})
        except ValidationError as error:
            faults |= {(fault["type"], in_words(fault)) for fault in error.errors()}
    assert faults
    for kind, words in faults:
        assert words != "this value is not possible", f"nothing is said about {kind}"
        assert not re.search(r"(?i)input|field required|valid |parse|not permitted", words)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_is_not_used_as_it_stands_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "some")
    assert said(monkeypatch, capsys, "windows").startswith(f"milestones: {name}: {VARIABLES[name]}")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("CONFIG=", "MILESTONES_CONFIG is empty: name a settings file, or unset it"),
        ("INSTANCE= ", "MILESTONES_INSTANCE is empty: name the worker in its consumer group, or unset it"),
        ("JARS=", "MILESTONES_JARS is empty: name a folder with the jars of Apache Kafka, or unset it"),
        (
            "MAVEN_REPOSITORY=",
            "MILESTONES_MAVEN_REPOSITORY is empty: name the address of a Maven repository, or unset it",
        ),
        ("LANGUAGE=", "MILESTONES_LANGUAGE is empty: name en or zh, or unset it"),
        ("HOT_PATH=", "MILESTONES_HOT_PATH is empty: name compiled or python, or unset it"),
        ("HOT_PATH=fast", "MILESTONES_HOT_PATH: 'fast' is not possible: name compiled or python, or unset it"),
        ("LOG_LEVEL=", "MILESTONES_LOG_LEVEL is empty: name DEBUG, INFO, WARNING or ERROR, or unset it"),
        (
            "LOG_LEVEL=LOUD",
            "MILESTONES_LOG_LEVEL: 'LOUD' is not possible: name DEBUG, INFO, WARNING or ERROR, or unset it",
        ),
    ],
)
@pytest.mark.parametrize("command", ["worker", "list", "broker"])
def test_a_variable_that_is_no_setting_is_not_ignored_if_it_is_empty_or_impossible(
    command: str, given: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, value = given.partition("=")
    monkeypatch.setenv(f"MILESTONES_{name}", value)
    assert said(monkeypatch, capsys, command) == f"milestones: {line}"


@pytest.mark.parametrize("value", ["X Forwarded", "X" * 65, "Ü"])
def test_the_name_of_a_header_is_refused_in_words(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILESTONES_WEB_PROXY_HEADER", value)
    assert "at most 64 letters, digits and hyphens make the name of a header" in said(monkeypatch, capsys, "windows")


def test_what_kubernetes_says_about_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plain = read_settings()
    for name, value in OF_SERVICES.items():
        monkeypatch.setenv(name, value)
    assert read_settings() == plain


def test_a_settings_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text("partitions = 7\r\n", encoding="utf-8-sig", newline="")
    assert read_settings(config).partitions == 7


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_a_settings_file_in_another_encoding_is_refused_in_one_line(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "x.toml"
    config.write_bytes("partitions = 7\n# 分区\n".encode(encoding))
    line = 1 if encoding == "utf-16" else 2
    told = said(monkeypatch, capsys, "windows", "--config", str(config))
    assert told == f"milestones: {config}: line {line} is not in UTF-8: save the file as UTF-8"


def test_a_password_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\r\n", encoding="utf-8-sig", newline="")
    assert secret("", str(tmp_path / "password"), "sasl_password") == "secret"


def test_a_file_or_folder_in_the_home_folder_may_be_named_as_a_shell_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "password").write_text("secret\n", encoding="utf-8")
    config = tmp_path / "x.toml"
    config.write_text(
        'state_dir = "~/state"\nsasl_password_file = "~/password"\nssl_ca_file = "a~/ca.pem"\n', encoding="utf-8"
    )
    settings = read_settings(config)
    assert (state_dir(settings), settings.ssl_ca_file) == (tmp_path / "state", "a~/ca.pem")
    assert secret("", settings.sasl_password_file, "sasl_password") == "secret"
    assert Settings(state_dir="~nobody-of-that-name/x").state_dir == "~nobody-of-that-name/x"
    # Every setting that names a file or a folder.
    named = [name for name in Settings.model_fields if name.endswith(("_file", "_dir")) or name == "holiday_calendar"]
    assert {name: getattr(Settings.model_validate({name: "~/x"}), name) for name in named} == dict.fromkeys(
        named, f"{tmp_path}/x"
    )
