"""Feeds records of some seeds to compiled modules in a folder: `python -m tests.fuzz.records FOLDER SEED ...`."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.authority import MAX_RECORD_BYTES
from schemas.changelog import encode_entries
from streams.domain import hotpath
from streams.domain.ledger import Ledger
from streams.domain.orders import steps
from streams.domain.orders.packing import Vocabulary, pack
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from streams.kafka.records import FetchedRecord
from tests.contract.builders import (
    APPENDED_MS,
    FUTURE_LIMIT_US,
    STRUCTURED,
    TOPICS,
    Record,
    binary,
    by_authority,
    document,
    key_of,
    plain_record,
    structured,
    text_of,
)
from tests.fuzz.__main__ import CHUNK
from tests.fuzz.damage import grown
from tests.fuzz.rows import feed
from tests.support.batches import Layout, Sent, batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.facts import Fact

ZONE: Final = BusinessZone("Asia/Shanghai")
PARTITION: Final = 3
LIMITS: Final[dict[str, int]] = {"future_limit_us": FUTURE_LIMIT_US, "max_bytes": MAX_RECORD_BYTES}
FIRST: Final[dict[str, int | None]] = {
    "base_offset": 0,
    "first_timestamp": APPENDED_MS,
    "append_timestamp": None,
    "since": 0,
}
HEADERS: Final[tuple[tuple[str, bytes | None], ...]] = (
    ("content-type", b"application/json"), ("content-type", b"application/cloudevents+json"), ("ce_id", b""), ("ce_id", b"x" * 257),
    ("ce_time", b"2024"), ("ce_specversion", None), ("ce_specversion", b"1.0"), ("ce_backfill", b"true"), ("x", b"y" * 3000), ("", None),
)  # fmt: skip


def loaded(folder: str, name: str) -> Any:
    """A compiled module."""
    (path,) = Path(folder).glob(f"{name.rpartition('.')[2]}.*.so")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def records(seed: int, count: int) -> list[tuple[int, Record]]:
    """The records of a seed, each with the number of its topic: of five, one grew and four are cut off somewhere."""
    dice = random.Random(seed)
    kinds = list(TOPICS)
    texts = [structured(kind) for kind in kinds]
    texts += [text_of(document(kind)["data"]) for kind in kinds]
    made: list[tuple[int, Record]] = []
    while len(made) < count:
        kind = dice.choice(kinds)
        record = binary(kind) if dice.randrange(3) == 0 else plain_record(kind)
        match dice.randrange(8):
            case 0:
                record = record._replace(key=grown(dice, key_of(kind), texts))
            case 1:
                headers = list(record.headers) or list(STRUCTURED)
                place = dice.randrange(len(headers))
                name, text = headers[place]
                headers[place] = dice.choice((dice.choice(HEADERS), (name, grown(dice, text or b"", texts))))
                record = record._replace(headers=tuple(headers))
            case _:
                record = record._replace(value=grown(dice, record.value or b"", texts))
        topic = TOPICS[kind] if dice.randrange(20) else dice.choice((0, 1, 128))
        made.append((topic, record))
        value = record.value or b""
        made += [(topic, record._replace(value=value[: dice.randrange(len(value) + 1)])) for _ in range(4)]
    return made


def whole(scanner: Any, given: list[Record]) -> Any:
    """The records as they come in the bytes of a batch."""
    sent = [Sent(place, each.key, each.value, each.headers, each.timestamp) for place, each in enumerate(given)]
    found = scanner.Records("topic", PARTITION, FetchedRecord)
    found.add(batch(sent, 0).data[Layout.BODY_AT :], count=len(sent), **FIRST)
    return found


def read_damaged(scanner: Any, dice: random.Random, given: list[Record], topic: int) -> None:
    """Reads the damaged bytes of a batch, which are records or are refused."""
    sent = [Sent(place, each.key, each.value, each.headers, each.timestamp) for place, each in enumerate(given)]
    body = bytearray(batch(sent, 0).data[Layout.BODY_AT :])
    for _ in range(dice.randrange(1, 4)):
        match dice.randrange(3):
            case 0:
                body[dice.randrange(len(body))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 1:
                del body[dice.randrange(len(body)) :]
                body += b"\0"
            case _:
                at = dice.randrange(len(body))
                body[at:at] = dice.randbytes(dice.randrange(1, 12))
    found = scanner.Records("topic", PARTITION, FetchedRecord)
    try:
        found.add(bytes(body), count=dice.choice((len(sent), len(sent), dice.randrange(2 * len(sent)))), **FIRST)
    except (ValueError, OverflowError):
        return
    facts = scanner.plain_facts(found, **LIMITS, topic=topic)
    assert list(facts) == list(scanner.plain_facts(list(found), **LIMITS, topic=topic))
    scanner.strays(found, 7, 3)


def stored(way: Any, facts: Sequence[Fact]) -> list[Any]:
    """What a ledger does with facts or, compiled, with packed events."""
    hotpath.way = way
    ledger = Ledger(ZONE, Scopes(), 4)
    seen: list[Any] = []
    for first in range(0, len(facts), 100):
        seen.append(ledger.apply(facts[first : first + 100]))
        changes = ledger.drain()
        seen += [changes.orders, changes.vocabulary, changes.counts, changes.violations]
    return seen


def keep(way: Any, dice: random.Random, facts: list[Fact]) -> None:
    """Adds packed events, some of them damaged, to orders, which must behave like a dict."""
    orders, known, words = way.PackedOrders(), dict[str, bytes](), Vocabulary()
    for fact in facts:
        packed = pack(fact, words)
        if dice.randrange(3) == 0:
            packed = grown(dice, packed, [packed])
        order_id = dice.choice((fact.order_id, fact.id, fact.source))
        orders[order_id] = known[order_id] = (known.get(order_id, b"") if dice.randrange(8) else b"") + packed
        assert orders[order_id] == known[order_id]
    assert list(orders.items()) == list(known.items())


def restored(way: Any, chunks: list[bytes]) -> list[Any]:
    """The orders in chunks of the changelog, one way, up to one that is refused."""
    orders = way.PackedOrders()
    restoring = way.Restoring(orders)
    seen: list[Any] = []
    try:
        for chunk in chunks:
            restoring.put([chunk])
            taken = restoring.taken()
            seen.append([way.order_at(orders, place) for place in taken.places.tolist()])
            seen += [column.tolist() for column in (*taken.first, *taken.second, taken.followed)]
            seen += [taken.longer, taken.size]
    except ValueError:
        seen.append("refused")
    return seen


def followed(way: Any, chunks: list[bytes], words: list[Any]) -> list[Any]:
    """The orders after chunks of the changelog that come one after the other, one way, up to one that is refused."""
    orders = way.PackedOrders()
    touched, last = way.Touched(orders), dict[str, int]()
    seen: list[Any] = []
    try:
        seen += [way.follow(chunk, orders, touched, words, last) for chunk in chunks]
        seen += [list(orders.items()), list(touched.items()), last]
    except ValueError:
        return ["refused"]
    return seen


def written(dice: random.Random, facts: list[Fact]) -> list[bytes]:
    """Chunks of the changelog with the orders of some facts, most of them after accidents."""
    words, chunks = Vocabulary(), list[bytes]()
    for first in range(0, len(facts), 5):
        orders: dict[str, bytes] = {}
        for fact in facts[first : first + 5]:
            order_id = dice.choice((fact.order_id, fact.id, fact.source))
            orders[order_id] = orders.get(order_id, b"") + pack(fact, words)
        chunks.append(encode_entries(list(orders.items())))
    return [chunk if dice.randrange(4) == 0 else grown(dice, chunk, chunks) for chunk in chunks]


def main() -> None:
    """Prints each seed as it begins, and how many of its records, and of its counts and rows, were accepted."""
    scanner, compiled = loaded(sys.argv[1], "schemas._scanner"), loaded(sys.argv[1], "streams.domain._steps")
    rows = loaded(sys.argv[1], "streams.domain._rows")
    for seed in map(int, sys.argv[2:]):
        print(f"begun {seed}", flush=True)
        by_topic: dict[int, list[Record]] = {}
        for topic, record in records(seed, CHUNK):
            by_topic.setdefault(topic, []).append(record)
        accepted: list[Fact] = []
        dice = random.Random(seed)
        for topic, given in by_topic.items():
            facts = scanner.plain_facts(given, **LIMITS, topic=topic)
            of_bytes = whole(scanner, given)
            as_fetched = scanner.plain_facts(of_bytes, **LIMITS, topic=topic)
            assert list(as_fetched) == list(scanner.plain_facts(list(of_bytes), **LIMITS, topic=topic))
            plain = [place for place, fact in enumerate(as_fetched) if fact is not None]
            assert stored(compiled, as_fetched.picked(plain)) == stored(steps, list(as_fetched.picked(plain))), seed
            for first in range(0, len(given), 20):
                read_damaged(scanner, dice, given[first : first + dice.randrange(1, 20)], topic)
            for record, fact in zip(given, facts, strict=True):
                if fact is not None:
                    accepted.append(fact)
                    assert fact == by_authority(record, topic=topic), record
        assert stored(compiled, accepted) == stored(steps, accepted), seed
        keep(compiled, dice, accepted)
        chunks, words = written(dice, accepted), [f"/{number}" for number in range(50)]
        for chunk in chunks:
            assert restored(compiled, [chunk]) == restored(steps, [chunk]), chunk
            both = [dice.choice(chunks), chunk]
            assert followed(compiled, both, words) == followed(steps, both, words), both
        print(f"seed {seed}: {len(accepted)} {feed(rows, dice)}", flush=True)


if __name__ == "__main__":
    main()
