"""The lines of the windows table, as HTML.

This is the only place that builds HTML without a template. With up to 1,000 lines per page, formatting and escaping their ten cells in
a template took two thirds of the page's time (25 of 38 ms). Here each version of a row is formatted once and cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from markupsafe import Markup, escape

from schemas.codec import row_document
from schemas.facts import INVENTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: About 1 kB each.
_REMEMBERED_LINES: Final = 16_384
_DIM: Final = '<tr class="dim">'
#: Longer names may not fit into the cell.
_SHORT_NAME: Final = 24
_MOMENT: Final = "yyyy-MM-dd HH:mm:ss"


def page_url(path: str, query: Mapping[str, object], *, kiosk: bool, as_of: str = "") -> str:
    """The address of a page; `None` and empty values are left out, kiosk mode and the moment being shown are kept."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    if as_of and "as_of" not in query:
        given["as_of"] = as_of
    if kiosk:
        given.setdefault("kiosk", "1")
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


@dataclass(frozen=True)
class Manner:
    """How lines are shown.

    Attributes:
        timezone: The time zone in which instants are shown.
        live: Whether counts follow the stream.
        dim: Whether the rows are from an earlier moment.
        kiosk: Whether links keep kiosk mode.
        as_of: The earlier moment that links keep; empty is now.
    """

    timezone: str
    live: bool
    dim: bool
    kiosk: bool
    as_of: str = ""

    def url(self, path: str, **query: object) -> str:
        """The address of a page, escaped for HTML."""
        return str(escape(page_url(path, query, kiosk=self.kiosk, as_of=self.as_of)))


class RowLines:
    """Makes lines in a language.

    Args:
        filters: The language's `period`, `metric`, `scope`, `number`, `signed`, `window_status`, `instant`.
        gettext: Translates one of our texts.
    """

    def __init__(self, filters: Mapping[str, Callable[..., Any]], gettext: Callable[[str], str]) -> None:
        self._gettext = gettext
        self._text = _escaped(str)
        self._period = _escaped(filters["period"])
        self._metric = _escaped(filters["metric"])
        self._scope = _escaped(filters["scope"])
        self._number = _escaped(filters["number"])
        self._signed = _escaped(filters["signed"])
        self._status = _escaped(filters["window_status"])
        self._instant = _escaped(filters["instant"])
        self._line = lru_cache(maxsize=_REMEMBERED_LINES)(self._make_line)

    def __call__(self, bodies: Iterable[str], **manner: Any) -> Markup:
        """The `tr` elements of rows.

        Args:
            bodies: The rows in order, as JSON as on the topic.
            manner: See `Manner`.
        """
        chosen, line = Manner(**manner), self._line
        return Markup("".join([line(body, chosen) for body in bodies]))  # noqa: S704 - all inserted text is escaped

    def _make_line(self, body: str, manner: Manner) -> str:
        row = row_document(body)
        metric, scope, restated = row["metric"], row["scope"], row["restated"]
        name, count = self._period(row["period"]), self._number(row["count"])
        named = self._scope(scope)
        # A name that may not fit is also shown as the title.
        title = f' title="{named}"' if len(scope) > _SHORT_NAME else ""
        if row.get("by_hour"):
            address = manner.url(f"/calendar/{row['start']}", metric=metric, scope=scope)
            name = f'<a href="{address}">{name}</a>'
        elif row.get("by_minute") is not None:
            address = manner.url(f"/campaigns/{row['period'].partition(':')[2]}", metric=metric, scope=scope)
            name = f'<a href="{address}">{name}</a>'
        if manner.live:
            key = f"{self._text(metric)}|{self._text(scope)}|{self._text(row['period'])}"
            count = f'<span data-row="{key}">{count}</span>'
        if row["count"] and metric != INVENTORY:
            address = manner.url("/units", metric=metric, scope=scope, period=row["period"])
            count = f'<a href="{address}">{count}</a>'
        return (
            f'{_DIM if manner.dim else "<tr>"}<th scope="row" class="nowrap">{name}</th>'
            f'<td class="num strong">{count}</td><td class="nowrap">{self._metric(metric)}</td>'
            f'<td class="nowrap name"{title}>{named}</td>'
            f"<td>{self._marks(row, manner)}</td>"
            f'<td class="nowrap">{self._status(row["status"])}</td>'
            f'<td class="num">{self._number(restated) if restated else ""}</td>'
            f'<td class="num muted screen">{self._number(row["version"])}</td>'
            f'<td class="nowrap muted">{self._instant(row["updated_at"], manner.timezone, _MOMENT)}</td></tr>\n'
        )

    def _marks(self, row: dict[str, Any], manner: Manner) -> str:
        """What a row is measured against: its targets, and differing totals of other systems."""
        _, marks = self._gettext, []
        said = _("reached")
        for target in row["targets"]:
            number = self._number(target["value"])
            if target["reached"]:
                number += f' ✓<span class="visually-hidden"> {escape(said)}</span>'
            kind = "badge good" if target["reached"] else "badge"
            marks.append(f'<span class="{kind}" title="{self._text(target["target_id"])}">{number}</span> ')
        if row.get("balance"):
            said = _("of them %(count)s opening balance") % {"count": self._number(row["balance"])}
            marks.append(f'<span class="badge">{escape(said)}</span> ')
        for control in row.get("controls", ()):
            if control["difference"]:
                said = _("different from %(source)s") % {"source": control["source"]}
                marks.append(
                    f'<a class="badge warn" href="{manner.url("/reconciliation")}" '
                    f'title="{self._text(control["source"])}">{self._signed(control["difference"])}'
                    f'<span class="visually-hidden"> {escape(said)}</span></a> '
                )
        return "".join(marks)


def _escaped(text: Callable[..., Any]) -> Callable[..., str]:
    """A function whose result is escaped for HTML."""

    def escaped(*values: Any) -> str:
        return str(escape(text(*values)))

    return escaped
