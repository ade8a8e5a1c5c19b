"""VINs where they stand for vehicles that were produced: there they take the place of an order's number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.settings import Settings

#: Of a VIN, with a letter: seventeen digits are rather the number of an order.
VIN: Final = re.compile(r"(?=[0-9]*[A-Z])[A-HJ-NPR-Z0-9]{17}", re.IGNORECASE)


def shown(number: str, settings: Settings) -> str:
    """The number of an order, or the VIN that is in its place; "" for a VIN where the settings do not let it be shown.

    What comes from the topics of outputs does not say which of the two it is, so where production is counted, numbers of
    orders that look like VINs are taken for such.
    """
    is_hidden = "production" in settings.families and not settings.web_show_vins and VIN.fullmatch(number)
    return "" if is_hidden else number
