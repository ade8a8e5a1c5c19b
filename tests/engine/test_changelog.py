"""The chunked changelog: a reader of the compacted log finds the current orders, whatever was written."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import cramjam
import pytest

from schemas.changelog import Decompressing, compressed, decode_entries, encode_chunks, encode_entries
from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from streams.ledger import changelog as module
from streams.ledger.changelog import Changelog
from tests.domain.facts import placed, us

if TYPE_CHECKING:
    from collections.abc import Callable


class Log:
    """A compacted topic, and the orders whose changelog it is."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes | None] = {}
        self.orders: dict[str, bytes] = {}
        self.written_bytes = 0
        self.changelog = Changelog(self.orders.__getitem__, lambda: list(self.orders))

    @property
    def state_bytes(self) -> int:
        return sum(len(key) + len(value) for key, value in self.orders.items())

    def commit(self, touched: dict[str, bytes]) -> None:
        self.orders.update(touched)
        for key, value in self.changelog.write(encode_chunks(touched.items(), module.FULL_BYTES), self.state_bytes):
            self.records.pop(key, None)  # a later record of a key is later in the log
            self.records[key] = value
            self.written_bytes += len(value or b"")

    def restored(self) -> tuple[dict[str, bytes], Changelog]:
        orders: dict[str, bytes] = {}
        changelog, backwards = (Changelog(orders.__getitem__, lambda: list(orders)) for _ in range(2))
        for key, value in self.records.items():
            changelog.read(key, value)
            backwards.read(key, value)
        for chunk in changelog.chunks():
            orders.update(decode_entries(chunk))
        from_last: dict[str, bytes] = {}
        for chunk in backwards.chunks(latest_first=True):
            from_last = dict(decode_entries(chunk)) | from_last
        assert from_last == orders
        return orders, backwards

    def restart(self) -> None:
        self.orders, self.changelog = self.restored()


def test_what_is_restored_is_what_was_written_last_whatever_was_merged_and_whenever_it_restarted() -> None:
    dice = random.Random(20241007)
    log = Log()
    for step in range(1500):
        log.commit(
            {
                f"SO-{dice.randrange(2000)}": dice.randbytes(dice.randrange(40, 200))
                for _ in range(dice.randrange(1, 30))
            }
        )
        if dice.random() < 0.01:
            before = dict(log.orders)
            log.restart()
            assert log.orders == before, f"step {step}"
    assert log.restored()[0] == log.orders


def test_many_small_commits_leave_few_chunks() -> None:
    log, dice = Log(), random.Random(3)
    for number in range(10_000):
        log.commit({f"SO-{number}": dice.randbytes(120)})
    assert len(log.changelog) < 100
    assert log.written_bytes < 8 * log.state_bytes


def test_orders_that_change_again_and_again_do_not_let_the_log_grow_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SWEEP_SLACK_BYTES", 100_000)
    monkeypatch.setattr(module, "FULL_BYTES", 20_000)
    monkeypatch.setattr(module, "_SETTLED_BYTES", 5_000)
    dice = random.Random(1)
    log = Log()
    largest = 0
    for _ in range(2000):
        log.commit({f"SO-{dice.randrange(3000)}": dice.randbytes(100) for _ in range(60)})
        largest = max(largest, log.changelog.size)
    assert log.restored()[0] == log.orders
    # At twice the state, a sweep begins, which rewrites the state before the old chunks are removed.
    assert largest < 3 * log.state_bytes + 100_000 + 200_000


def test_a_large_commit_is_split_into_records_of_bounded_size() -> None:
    log, dice = Log(), random.Random(4)
    log.commit({f"SO-{number}": dice.randbytes(250) for number in range(10_000)})
    sizes = [len(value) for value in log.records.values() if value is not None]
    assert len(sizes) > 1
    assert max(sizes) < module.FULL_BYTES + 1000
    assert log.restored()[0] == log.orders


def test_an_unfinished_sweep_loses_nothing_in_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SWEEP_SLACK_BYTES", 10_000)
    monkeypatch.setattr(module, "FULL_BYTES", 2_000)
    monkeypatch.setattr(module, "_SETTLED_BYTES", 500)
    dice = random.Random(2)
    log = Log()
    for _ in range(1500):
        log.commit({f"SO-{dice.randrange(500)}": dice.randbytes(100) for _ in range(20)})
        if dice.random() < 0.05:
            before = dict(log.orders)
            log.restart()
            assert log.orders == before


def test_large_chunks_are_compressed_and_those_written_before_that_are_read() -> None:
    orders = {f"SO-{number}": b"LNBSU7A1%09d" % number for number in range(1_000)}
    log = Log()
    log.commit(orders)
    ((key, value),) = log.records.items()
    assert value is not None
    plain = encode_entries(list(orders.items()))
    assert len(value) < len(plain) / 2
    log.records[key] = plain
    found, changelog = log.restored()
    assert found == orders
    assert changelog.size == log.changelog.size == len(plain)


def test_chunks_of_any_size_are_decompressed_one_after_the_other() -> None:
    dice, decompressing = random.Random(5), Decompressing()
    for size in (0, 10, 1023, 1024, 600_000, 2_000_000, 5_000, 4_100_000, 4_000_000, 3):
        chunk = dice.randbytes(size // 2 + 1) * 2
        assert bytes(decompressing.chunk(compressed(chunk))) == chunk


def test_a_damaged_chunk_is_not_decompressed() -> None:
    chunk = compressed(random.Random(5).randbytes(5000))
    with pytest.raises(cramjam.DecompressionError):
        Decompressing().chunk(chunk[:-3])


@pytest.mark.parametrize("is_late", [False, True])
def test_chunks_can_be_put_as_late_as_when_the_next_ones_are_to_be(is_late: bool) -> None:
    """As another thread may: until then they must stay in memory as they are."""
    written, restored = (Ledger(BusinessZone("Asia/Shanghai"), Scopes()) for _ in range(2))
    changelog, read = (Changelog(each.blob, each.order_ids) for each in (written, restored))
    vocabulary = []
    for step in range(30):
        events = [
            placed(us("2024-10-01T12:00:00+08:00") + number, order=f"SO-{step}-{number}") for number in range(100)
        ]
        written.apply(events)
        changes = written.drain()
        vocabulary += changes.vocabulary
        for key, value in changelog.write(changes.orders.chunks(module.FULL_BYTES), 1 << 40):
            read.read(key, value)
    putting: Callable[[], None] | None = None
    for begun in restored.restoring(vocabulary, read.chunks(latest_first=True)):
        if begun is None:
            continue
        if putting is not None:
            putting()
        if is_late:
            putting = begun
        else:
            begun()
    assert dict(restored._orders.items()) == dict(written._orders.items())
    by_hour = [{key: count.by_hour for key, count in ledger.counts().items()} for ledger in (restored, written)]
    assert by_hour[0] == by_hour[1]
