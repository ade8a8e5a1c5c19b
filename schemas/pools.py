"""Bounded pools of values that many events share, so that equal ones are one object.

One object for equal values saves memory, and comparing and hashing it again costs next to nothing. A pool that is full
is emptied: then equal values are two objects for a while, which is slower and still right.
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
    """The pool's own tuple that equals `dims`."""
    known = _dims.get(dims)
    if known is None:
        model, variant, factory, region = map(intern_text, dims)
        known = (model, variant, factory, region)
        if len(_dims) >= POOL_SIZE:
            _dims.clear()
        _dims[known] = known
    return known


def intern_text(text: str) -> str:
    """The pool's own text that equals `text`, for texts that repeat: sources, codes."""
    known = _texts.get(text)
    if known is None:
        if len(_texts) >= POOL_SIZE:
            _texts.clear()
        known = _texts[text] = text
    return known
