"""Finds what is missing or wrong, on this machine or on a cluster, each with its cure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from streams.errors import ExpectedError

Verdict = Literal["ok", "wrong", "note"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked, in a word or two.
        state: The outcome; `note` is for what could not be checked, or need not be.
        detail: What was found.
        cure: What to do, if something is wrong.
    """

    name: str
    state: Verdict
    detail: str
    cure: str = ""


def ok(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", detail)


def wrong(name: str, detail: str, cure: str) -> Finding:
    """Something has to be done."""
    return Finding(name, "wrong", detail, cure)


def note(name: str, detail: str) -> Finding:
    """Something unknown, or not needed."""
    return Finding(name, "note", detail)


def failed(name: str, error: ExpectedError) -> Finding:
    """A finding from a failure's message, whose last part is the cure."""
    detail, _, cure = str(error).rpartition("; ")
    return wrong(name, detail or str(error), cure if detail else "see the line above")
