"""Bounded pools of values that many events share, so that equal values are the same object.

This saves memory, and comparing or rehashing such an object costs next to nothing. A full pool is emptied: equal values may then be
two objects for a while, which is slower but still correct.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.facts import NO_DIMS

if TYPE_CHECKING:
    from schemas.facts import Dims

POOL_SIZE: Final = 65_536

_dims: dict[Dims, Dims] = {NO_DIMS: NO_DIMS}
_texts: dict[str, str] = {"": ""}


def intern_dims(dims: Dims) -> Dims:
    """The pooled tuple that equals `dims`."""
    known = _dims.get(dims)
    if known is None:
        model, variant, factory, region = map(intern_text, dims)
        known = (model, variant, factory, region)
        if len(_dims) >= POOL_SIZE:
            _dims.clear()
        _dims[known] = known
    return known


def intern_text(text: str) -> str:
    """The pooled string that equals `text`; for strings that repeat, such as sources and codes."""
    known = _texts.get(text)
    if known is None:
        if len(_texts) >= POOL_SIZE:
            _texts.clear()
        known = _texts[text] = text
    return known
