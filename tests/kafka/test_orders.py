"""`milestones order` on a real cluster: by number, VIN and event, exact while events wait, quick once indexed."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition

from streams.lookup.finder import Finder
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

VIN = "LNBSU7A10R1000123"


def placed(order_id: str) -> Published:
    value = event("order.placed.v1", f"{order_id}-p", FIRST, {"order_id": order_id, "model": "SU7"})
    return Published("orders", order_id.encode(), value, None)


async def check_moments(finder: Finder, order_id: str, begun_s: float) -> None:
    """Nothing of the order had been appended before the test; by now everything has."""
    found = await finder.order(order_id)
    assert found is not None
    before, now = [await finder.moment(int(at_s * 1_000_000)) for at_s in (begun_s, time.time())]
    assert (before.before(found.facts), now.before(found.facts)) == ([], found.facts)


async def check_kept(installation: Installation) -> None:
    """The kept index is reused, although transaction markers are younger than their records; not for another topic."""
    async with Finder.opened(installation.settings) as finder:
        parts = {number: TopicPartition(installation.catalogue.ledger.name, number) for number in finder._indexes}
        kept = {number: index.next for number, index in finder._indexes.items()}
        assert sum(kept.values()) > 0
        await finder._check(parts)
        assert {number: index.next for number, index in finder._indexes.items()} == kept
        for index in finder._indexes.values():
            index.topic_id = "of the one that was deleted"
        finder._checked_s.clear()
        await finder._check(parts)
        assert {index.next for index in finder._indexes.values()} == {0}


async def test_an_order_is_found_by_number_vin_and_event_and_what_waits_is_not_called_uncounted(
    bootstrap: str, tmp_path: Path
) -> None:
    begun = time.time() - 1
    async with Installation.created(bootstrap, tmp_path) as installation:
        await installation.publish([placed("SO-waits")])
        before = await installation.run("order", "SO-waits", "--json")
        assert (before.returncode, json.loads(before.stdout)["state"]) == (1, "not_known"), before.stderr

        delivered = event(
            "vehicle.delivered.v1",
            "d-1",
            FIRST + timedelta(days=1),
            {"order_id": "SO-waits", "vin": VIN, "model": "SU7"},
        )
        worker = installation.worker()
        await installation.applied()
        # Once more, alone and away from its home.
        records = [
            *lifecycle(3, 60),
            *(Published("deliveries", b"SO-waits", delivered, number) for number in (2, 0, 1)),
        ]
        await installation.publish([*records, Published("orders", b"SO-bad", b"{", None)])
        await installation.applied()

        found = await installation.run("order", "SO-waits")
        assert found.returncode == 0, found.stderr
        assert found.stdout.startswith("Order SO-waits: counted\n")
        assert f"VIN {VIN}" in found.stdout
        assert "deliveries  2024-09-29  in day:2024-09-29, month:2024-09, year:2024  of model=SU7, all" in found.stdout
        by_vin = await installation.run("order", "--vin", f" {VIN.lower()}", "--json")
        by_event = await installation.run("order", "--event", "d-1", "--json")
        stories = [json.loads(each.stdout) for each in (by_vin, by_event)]
        assert [story["order_id"] for story in stories] == ["SO-waits", "SO-waits"]
        assert [each["effect"] for each in stories[0]["events"]] == ["placed", "delivered"]

        copied = json.loads((await installation.run("order", "SO-waits", "--copies", "--json")).stdout)
        known = {(each["partition"], each["offset"]) for each in copied["events"] if each["id"] == "d-1"}
        found_again = {(each["partition"], each["offset"]) for each in copied["copies"]}
        assert ({each["id"] for each in copied["copies"]}, len(found_again | known)) == ({"d-1"}, 3)
        ((partition, offset),) = known
        assert f"{installation.catalogue.deliveries.name}-{partition}@{offset}" in found.stdout
        assert copied["copies_in_partition"] >= 2
        assert " of all orders: --copies lists those of this one" in found.stdout

        bad = await installation.run("order", "SO-bad", "--json")
        told = json.loads(bad.stdout)
        assert (bad.returncode, told["state"], told["letters"][0]["reason"]) == (0, "rejected", "malformed_json")
        never = await installation.run("order", "SO-never")
        assert never.returncode == 2
        assert "nothing of order SO-never has ever arrived" in never.stderr

        for options, rejected in (("--order SO-bad", 1), ("--order SO-waits", 0), ("--vin X", 0), ("--source /x", 0)):
            listed = await installation.run("dead-letters", "list", *options.split(), "--json")
            assert len(listed.stdout.splitlines()) == rejected, options
        contradicts = await installation.run("violations", "--vin", VIN, "--kind", "delivered_twice")
        assert (contradicts.returncode, contradicts.stdout) == (0, ""), contradicts.stderr

        worker.kill()
        worker.wait()
        await installation.publish([placed("SO-late")])
        late = await installation.run("order", "SO-late", "--json")
        told = json.loads(late.stdout)
        assert (late.returncode, told["state"], told["waiting_of_order"]) == (1, "waiting", 1)

        async with Finder.opened(installation.settings) as finder:
            await finder.read_on()
            await check_moments(finder, "SO-waits", begun)
            assert {found.order_id async for found in finder.orders_on((FIRST + timedelta(days=1)).date())} >= {
                "SO-waits"
            }
        await check_kept(installation)
