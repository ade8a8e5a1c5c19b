"""What becomes of an event that is known by its identity: it counts, it is known already, or it contradicts what is known."""

from __future__ import annotations

from typing import Final, Literal

Disposition = Literal["applied", "duplicate", "id_conflict"]

APPLIED: Final = "applied"
DUPLICATE: Final = "duplicate"
