"""Settings that a worker refuses are refused by every command: in the same words, with exit code 2, without a cluster."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from streams.cli import COMMANDS, main
from tests.support.commands import USES, uses
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    '[topics]\norders = ["a"]\ndeliveries = ["b", "a"]\n': "topics: a would be read for orders and for deliveries",
    '[topics]\norders = ["vehicle.deliveries.v1"]\n': "vehicle.deliveries.v1 would be read for orders and for deliv",
    '[topics]\ndeliveries = ["a b"]\n': "topics.deliveries: 'a b' is no name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -",
    '[topics]\ndeliveries = [".."]\n': "topics.deliveries: '..' is no name of a topic",
    "[topics]\norders = []\n": "topics.orders: list at least one topic, or leave the key out",
    f"[topics]\norders = {[f'a{number}' for number in range(65)]}\n": "topics.orders: 65 topics; 64 at most can be read",
    '[topics]\norders = ["a", "vehicle.dead-letters.v1"]\n': "topics: vehicle.dead-letters.v1 is a topic that this se",
    'output_prefix = "x."\n[topics]\norders = "milestones.internal.x.ledger"\n': "ledger is a topic that this service writes",
    '[topics]\norders = "vehicle.targets.v1"\n': "topics: vehicle.targets.v1 is a topic that this service reads for",
    '[topics]\ntargets = ["a"]\n': "topics.targets: there is no setting called so",
    'security_protocol = "SASL_SSL"\nsasl_username = "u"\nsasl_password_file = "/no/such"\n': "sasl_password_file: cannot read",
    'security_protocol = "SSL"\nssl_ca_file = "/dev/null"\n': "ssl_ca_file: cannot use /dev/null: it holds no certificates",
    'security_protocol = "SSL"\nssl_certificate_file = "/no/such"\n': "ssl_certificate_file: cannot use /no/such: ",
    'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"\nsasl_token_file = "/dev/null"\n': "null is empty",
    'web_bind = "8080"\n': "web_bind: '8080' is no address; write HOST:PORT",
    'web_trusted_proxies = "proxy"\n': "web_trusted_proxies: 'proxy' does not appear to be",
}


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
