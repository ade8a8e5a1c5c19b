"""What the totals ask the ledger partitions: which unit of a window was its N-th.

A question is a record of the topic of questions, in the partition of each ledger partition; the answer is in the marker of a
later transaction of that partition, so it tells of exactly the counts up to there. A question that is lost is asked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from schemas.facts import Metric  # noqa: TC001 - msgspec reads annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Key of a record of questions.
FROM_TOTALS: Final = b"totals"
#: Units that an answer lists at most; of more it lists some, evenly spaced.
MOST_UNITS: Final = 256

#: A unit by its event: time in microseconds since 1970, id, source, and the topic, partition and offset of its record. Units
#: are in this order; what follows the source only makes it the same everywhere.
UnitKey = tuple[int, str, str, int, int, int]


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which units a ledger partition counts in some cells of a window.

    Attributes:
        id: Comes back with the answer.
        metric: Of the units.
        scope: Of the units.
        first_day: First date of the window, as a proleptic Gregorian ordinal.
        first_cell: First local hour to be looked at: the ordinal of its date times 24, plus the hour.
        last_cell: The last one.
        after: Only units after this one are listed.
        upto: Only units up to this one are.
        campaign: The window is the campaign with this name, and the cells are minutes of it, from 0.
        others_than: The scope is that of the others: its units are those of all scopes with its dimensions but these.
    """

    id: str
    metric: Metric
    scope: str
    first_day: int
    first_cell: int
    last_cell: int
    after: UnitKey | None = None
    upto: UnitKey | None = None
    others_than: list[str] | None = None
    campaign: str = ""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What one ledger partition says.

    Attributes:
        id: Of the question.
        before: Its units in the window before the first cell.
        inside: Those in the cells.
        passed: Those of them that are not after `after`.
        within: Those after `after` and up to `upto`, of which the next two tell.
        ranks: Of each unit that is listed, its rank among them, from 1; if any are, the last is.
        units: The units.
    """

    id: str
    before: int
    inside: int
    passed: int
    within: int
    ranks: list[int]
    units: list[UnitKey]


#: Header of a record that announces campaigns: the announcement in text. Its value has no questions.
ANNOUNCEMENT: Final = "announcement"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Question]).decode


def encode_questions(questions: Sequence[Question]) -> bytes:
    """Value of a record of questions."""
    return _encode(questions)


def decode_questions(value: bytes) -> list[Question]:
    """The questions of a value."""
    return _decode(value)


def announcing(text: str) -> tuple[bytes, Sequence[tuple[str, bytes]]]:
    """Value and headers of a record that announces campaigns: versions that know of no such thing find no question in it."""
    return encode_questions([]), [(ANNOUNCEMENT, text.encode())]
