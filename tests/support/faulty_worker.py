"""A worker with a planted bug: its ledger raises when it applies an event of one of the orders in FAULTY_ORDERS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from streams.cli import main
from streams.domain.ledger import Applied, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.facts import Fact

_ORDERS = frozenset(os.environ["FAULTY_ORDERS"].split(","))

_apply = Ledger.apply


def _faulty_apply(self: Ledger, facts: Sequence[Fact]) -> Applied:
    if any(fact.order_id in _ORDERS for fact in facts):
        raise KeyError("planted")
    return _apply(self, facts)


Ledger.apply = _faulty_apply  # type: ignore[method-assign] # the one change to the real thing
main()
