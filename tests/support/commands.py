"""Every command of the command line in its shortest form, for tests of what all of them have in common."""

from __future__ import annotations

#: The shortest form of each command; `None` for those that read no settings.
USES: dict[str, list[str] | None] = {
    "backtest": [],
    "broker": None,
    "contracts": None,
    "dead-letters": ["list"],
    "correct": ["void", "SO-1", "--reason", "r", "--dry-run"],
    "demo": [],
    "doctor": [],
    "explain": ["deliveries/all/day:2024-10-07"],
    "forecasts": [],
    "gaps": ["list"],
    "list": [],
    "move": [],
    "order": ["SO-1"],
    "publish": ["deploy/demo/sample-events.ndjson"],
    "quarantine": ["list"],
    "rebuild": ["--output-prefix", "other."],
    "reconcile": [],
    "schema": ["check", "not-there.ndjson"],
    "scopes": [],
    "topics": ["plan"],
    "verify": [],
    "violations": [],
    "web": [],
    "windows": [],
    "worker": [],
}
MORE_USES = [
    ["explain", "deliveries/model=SU7/day:2024-10-07/exceeds:1000"],
    ["publish", "deploy/demo/sample-events.ndjson", "--topic", "vehicle.orders.v1"],
    ["windows", "--as-of", "2024-10-07T18:00:00+08:00"],
    ["windows", "--as-first-closed"],
    ["topics", "apply"],
    ["dead-letters", "replay"],
    ["correct", "undo", "SO-1", "--yes"],
    ["quarantine", "add", "vehicle.orders.v1", "2", "48211", "--reason", "r"],
    ["quarantine", "lift", "vehicle.orders.v1", "2", "48211"],
    ["gaps", "accept", "vehicle.orders.v1", "2", "--reason", "r"],
]


def uses() -> list[list[str]]:
    """The arguments of every command that reads the settings."""
    return [[name, *use] for name, use in sorted(USES.items()) if use is not None] + MORE_USES
