"""What the totals ask the ledger partitions: which unit of a window was its N-th.

A question is a record of the questions topic, one in the partition of each ledger partition; the answer is in the marker of a later
transaction of that ledger partition, so it refers to exactly the counts up to there. A lost question is asked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from schemas.facts import Metric  # noqa: TC001 - msgspec reads annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Key of a record of questions.
FROM_TOTALS: Final = b"totals"
#: The most units that an answer lists; of more, it lists a sample.
MOST_UNITS: Final = 256

#: A unit by its event: time in microseconds since 1970, id, source, and topic, partition and offset of its record. Units are sorted
#: by these; the parts after the source only make the order total.
UnitKey = tuple[int, str, str, int, int, int]


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Asks which units a ledger partition counts in some cells of a window.

    Attributes:
        id: Repeated in the answer.
        metric: Metric of the units.
        scope: Scope of the units.
        first_day: First date of the window, as a proleptic Gregorian ordinal.
        first_cell: First local hour to look at: the ordinal of its date times 24, plus the hour.
        last_cell: The last such hour.
        after: Only units after this one are listed.
        upto: Only units up to this one are listed.
        latest: Whether a sample must list the latest units one by one, and only those before them evenly spaced.
        campaign: If set, the window is the campaign with this name, and the cells are its minutes, from 0.
        others_than: If set, the scope is `other`: its units are those of all scopes with its dimensions except these.
    """

    id: str
    metric: Metric
    scope: str
    first_day: int
    first_cell: int
    last_cell: int
    after: UnitKey | None = None
    upto: UnitKey | None = None
    latest: bool = False
    others_than: list[str] | None = None
    campaign: str = ""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The answer of one ledger partition; all but `id` and the lists are numbers of its units.

    Attributes:
        id: The question's id.
        before: Units in the window before the first cell.
        inside: Units in the cells.
        passed: Units in the cells, up to and including `after`.
        within: Units in the cells, after `after` and up to `upto`; the lists are of these.
        ranks: The rank of each listed unit among these, from 1; if any are listed, the last one is.
        units: The listed units.
    """

    id: str
    before: int
    inside: int
    passed: int
    within: int
    ranks: list[int]
    units: list[UnitKey]


#: Header of a record that announces campaigns: the announcement in text. The record's value has no questions.
ANNOUNCEMENT: Final = "announcement"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Question]).decode


def encode_questions(questions: Sequence[Question]) -> bytes:
    """The value of a record of questions."""
    return _encode(questions)


def decode_questions(value: bytes) -> list[Question]:
    """The questions in a value."""
    return _decode(value)


def announcing(text: str) -> tuple[bytes, Sequence[tuple[str, bytes]]]:
    """Value and headers of a record that announces campaigns; versions that do not know of announcements find no question in it."""
    return encode_questions([]), [(ANNOUNCEMENT, text.encode())]
