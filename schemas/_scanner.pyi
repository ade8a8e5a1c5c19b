from collections.abc import Sequence

from schemas.authority import SourceRecord
from schemas.facts import Fact

SOURCE: str

def plain_facts(
    records: Sequence[SourceRecord], *, topic: int, future_limit_us: int, max_bytes: int
) -> list[Fact | None]: ...
