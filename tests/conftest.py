"""One real broker for the whole test run, and unique names for every test."""

from __future__ import annotations

import itertools
import re
import signal
from typing import TYPE_CHECKING

import pytest

from streams.embedded.broker import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.secured import SecuredKafka


# A process started in the background of a script ignores Ctrl-C, and so would the commands that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """The broker, started when the first test asks for it."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
        assert broker.alive, f"a test brought the shared broker down: {broker.failure()}"


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with TLS, users and an authoriser, started when the first test asks for it."""
    from tests.support.secured import SecuredKafka  # noqa: PLC0415 - few tests need it

    made = SecuredKafka(tmp_path_factory.mktemp("secured"))
    with made.broker:
        yield made
        assert made.broker.alive, f"a test brought the secured broker down: {made.broker.failure()}"
    made.close()


@pytest.fixture
def bootstrap(kafka: EmbeddedKafka) -> str:
    """`HOST:PORT` of the broker."""
    return kafka.bootstrap


_numbers = itertools.count(1)


@pytest.fixture
def make_prefix(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes prefixes for topics, groups and transactional ids that no other test of the run has."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return lambda: f"{name}-{next(_numbers)}."


@pytest.fixture
def prefix(make_prefix: Callable[[], str]) -> str:
    """One such prefix."""
    return make_prefix()
