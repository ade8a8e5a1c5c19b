"""One real broker for the whole test run, however many processes it has, and unique names for every test."""

from __future__ import annotations

import gc
import itertools
import os
import re
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.support import shared_kafka
from tests.support.scheduling import LongestFirst, longest_first

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from xdist.remote import Producer
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController

    from tests.support.secured import SecuredKafka
    from tests.support.shared_kafka import SharedKafka


# A process started in the background of a script ignores Ctrl-C, and so would commands started by tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes, or its generation, means nothing on a busy machine.
_UNTIMED: Final[dict[str, Any]] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("untimed", settings(), **_UNTIMED)
settings.load_profile("untimed")
# Chosen with --hypothesis-profile. Not derandomized, as the default would be if CI is set: each run tries new examples.
settings.register_profile("long", max_examples=20_000, derandomize=False, **_UNTIMED)


_lender = pytest.StashKey[shared_kafka.Lender]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Distributes the tests of a run among several processes."""
    return LongestFirst(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tells each process of the run where to ask for the broker."""
    stash = node.config.stash
    if _lender not in stash:
        stash[_lender] = shared_kafka.Lender()
    node.workerinput["lender"] = stash[_lender].address


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leaves what is collected, and all modules, to stay for the whole run, to no garbage collector: that takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the tests of a run in several processes in order."""
    if hasattr(config, "workerinput"):
        longest_first(items)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops the broker of a run in several processes."""
    if _lender in config.stash:
        config.stash[_lender].close()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedKafka]:
    """The broker, started when the first test asks for it."""
    given = getattr(request.config, "workerinput", None)  # set by xdist in the processes that it starts
    opened = shared_kafka.borrowed(given["lender"]) if given else shared_kafka.started(tmp_path_factory.mktemp("kafka"))
    with opened as broker:
        yield broker
        assert broker.alive, f"a test brought the shared broker down\n{broker.last_words()}"


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
def bootstrap(kafka: SharedKafka) -> str:
    """`HOST:PORT` of the broker."""
    return kafka.bootstrap


_numbers = itertools.count(1)


@pytest.fixture
def make_prefix(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes prefixes for topics, groups and transactional ids that no other test of the run has."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return lambda: f"{name}-{os.getpid()}-{next(_numbers)}."


@pytest.fixture
def prefix(make_prefix: Callable[[], str]) -> str:
    """One such prefix."""
    return make_prefix()
