"""A milestone event as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.wording.languages import LANGUAGES
from streams.wording.sentences import sentences

if TYPE_CHECKING:
    from schemas.outputs import MilestoneEvent


def headline(event: MilestoneEvent, language: str = LANGUAGES[0]) -> str:
    """Date, what happened, with the number, and the identity, on one line.

    Args:
        event: The event.
        language: One of `LANGUAGES`.
    """
    data = event.data
    # An event without a unit is dated by the end of its window, or by its detection if the window has not ended.
    when = data.achieved_on or (data.achieved_at[:10] if data.achieved_at else min(data.end, data.detected_at[:10]))
    if data.forecast is not None and event.stands:
        when = data.forecast.business_date
    elif data.silence is not None:
        when = data.start
    told = sentences(language)
    return f"{when}  {told.happening(event.type)}{told.sentence(data)}  [{told.identity(data)}]"
