"""Texts of settings files: rules and targets that many tests need, as users write them."""

from __future__ import annotations

import json
from typing import Any


def rule(
    name: str,
    metric: str = "deliveries",
    *,
    window: str = "day",
    scope: tuple[str, ...] = ("model",),
    **conditions: Any,
) -> str:
    """One `[[rule]]`; its conditions are `exceeds`, `reaches`, `first`, `record` and whatever else a rule knows."""
    return _table("rule", {"name": name, "metric": metric, "window": window, "scope": scope, **conditions})


def target(
    target_id: str, value: int, *, metric: str = "deliveries", scope: str = "all", period: str = "month:2024-10"
) -> str:
    """One `[[target]]`."""
    return _table(
        "target", {"target_id": target_id, "metric": metric, "scope": scope, "period": period, "value": value}
    )


def _table(name: str, values: dict[str, object]) -> str:
    """A TOML table; strings, numbers, booleans and lists read the same in JSON."""
    return "".join((f"\n[[{name}]]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items())))
