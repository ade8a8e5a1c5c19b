from collections.abc import Sequence

from schemas.authority import SourceRecord
from schemas.fast import Events as Events
from streams.domain.orders.packing import unpack as unpack
from streams.domain.orders.packing import unpack_at as unpack_at

SOURCE: str

def plain_facts(records: Sequence[SourceRecord], *, topic: int, future_limit_us: int, max_bytes: int) -> Events: ...
