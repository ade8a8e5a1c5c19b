"""The disposition of an event by its identity: it counts, repeats a known event, or contradicts one."""

from __future__ import annotations

from typing import Final, Literal

Disposition = Literal["applied", "duplicate", "id_conflict"]

APPLIED: Final = "applied"
DUPLICATE: Final = "duplicate"
