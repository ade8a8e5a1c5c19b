"""VINs in place of order numbers, where records are about the production of a vehicle."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.settings import Settings

#: A VIN with at least one letter: seventeen digits are more likely an order number.
VIN: Final = re.compile(r"(?=[0-9]*[A-Z])[A-HJ-NPR-Z0-9]{17}", re.IGNORECASE)


def shown(number: str, settings: Settings) -> str:
    """The order number, or the VIN in its place; "" for a VIN that the settings do not allow to be shown.

    Output topics do not say which of the two it is, so if production is counted, order numbers that look like VINs are taken for
    VINs.
    """
    is_hidden = "production" in settings.families and not settings.web_show_vins and VIN.fullmatch(number)
    return "" if is_hidden else number
