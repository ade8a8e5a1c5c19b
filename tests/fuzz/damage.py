"""Damage to bytes, by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.contract.builders import ORDER_ID, VIN

if TYPE_CHECKING:
    import random

#: Pieces that have a meaning in events.
PIECES: Final = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b" ", b"\n", b"\0", b"\x7f", b"\xff", b'"id":"1",', b'"data":{',
    b'"backfill":true,', b'"backfill":fals', b'"model":"SU7",', b'"vin":"', b"Z", b"-00:00", b"+24:00", b".", b".123456789",
    b"2100-02-29T24:60:60", b"x" * 64, b"y" * 256, b"9" * 40, "é".encode(), ORDER_ID.encode(), VIN.encode(), b"1.0", b"null",
)  # fmt: skip


def grown(dice: random.Random, text: bytes, texts: list[bytes]) -> bytes:
    """A text with some damage."""
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(text) + 1)
        match dice.randrange(7):
            case 0:
                text = text[:at] + dice.choice(PIECES) + text[at:]
            case 1:
                piece = dice.choice(PIECES)
                text = text[:at] + piece + text[at + len(piece) :]
            case 2:
                text = text[:at] + text[at + dice.randrange(1, 30) :]
            case 3:
                text = text[:at] + dice.randbytes(dice.randrange(1, 4)) + text[at + 1 :]
            case 4:
                text = text[:at] + dice.choice(texts)[at:]
            case 5:
                text = text[:at] + text[max(0, at - dice.randrange(1, 60)) :]
            case _:
                # An ordinary character, so that it may stay an event.
                text = text[:at] + dice.choice(b"019AZaz-: ").to_bytes() + text[at + 1 :]
    return text
