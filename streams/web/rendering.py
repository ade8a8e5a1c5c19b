"""Renders pages: Jinja2 templates with everything escaped, the reader's language, theme and kiosk mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from schemas.instants import parse_instant
from schemas.messages import Message, said
from schemas.outputs import PERIOD_KINDS
from streams.web import filters
from streams.web.names import Names
from streams.web.rowlines import RowLines, page_url
from streams.web.subject import Subject
from streams.wording.languages import LANGUAGES, translations_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from starlette.types import Scope

    from streams.web.assets import Assets

THEMES: Final = ("auto", "light", "dark")
_YEAR_S: Final = 31_536_000


@dataclass(frozen=True)
class Visitor:
    """The reader's preferences: from the address (`?lang=`, `?theme=`, `?kiosk=1`), else from a cookie, else from the browser."""

    request: Request

    @cached_property
    def locale(self) -> str:
        """One of `LANGUAGES`."""
        for wanted in (self.request.query_params.get("lang"), self.request.cookies.get("lang")):
            if wanted in LANGUAGES:
                return wanted
        return _accepted(self.request.headers.get("accept-language", ""))

    @cached_property
    def theme(self) -> str:
        """One of `THEMES`; `auto` is the browser's preference."""
        for wanted in (self.request.query_params.get("theme"), self.request.cookies.get("theme")):
            if wanted in THEMES:
                return wanted
        return "auto"

    @cached_property
    def kiosk(self) -> bool:
        """Whether to leave out the navigation, for a display on a wall."""
        return self.request.query_params.get("kiosk") == "1"

    @cached_property
    def as_of(self) -> str:
        """The earlier moment that is requested, and that links keep; empty for now, or if it is not an instant."""
        # An unescaped plus sign arrives as a space.
        text = self.request.query_params.get("as_of", "").strip().replace(" ", "+")
        try:
            parse_instant(text)
        except ValueError:
            return ""
        return text

    def remember(self, response: HTMLResponse) -> None:
        """Makes the browser remember preferences given in the address, but not those with which a page's script asks for more of it."""
        if self.request.headers.get("sec-fetch-dest") == "empty":
            return
        for name, known in (("lang", LANGUAGES), ("theme", THEMES)):
            wanted = self.request.query_params.get(name)
            if wanted is not None and wanted in known:
                response.set_cookie(name, wanted, max_age=_YEAR_S, samesite="strict")

    def url(self, path: str, **query: object) -> str:
        """The address of a page; `None` values are left out, kiosk mode and the moment being shown are kept."""
        return page_url(path, query, kiosk=self.kiosk, as_of=self.as_of)

    def subject(self, data: object) -> Subject:
        """What this page is about."""
        given = self.request.query_params
        return Subject.of(self.request.url.path, {name: given.getlist(name) for name in given}, data)

    def found(self, address: str) -> str:
        """An address from the view, with kiosk mode and the moment being shown."""
        more = [("kiosk", "1")] * self.kiosk + [("as_of", self.as_of)] * bool(self.as_of)
        return address + ("&" if "?" in address else "?") * bool(more) + urlencode(more)

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """This page's query, for the hidden fields of a form that changes something else."""
        left = {*without, "lang", "theme", "after", "before"}
        return [pair for pair in parse_qsl(self.request.url.query) if pair[0] not in left]

    def here(self, **query: object) -> str:
        """The address of this page with parts of its query replaced; `None` removes one."""
        kept = [
            pair
            for pair in parse_qsl(self.request.url.query)
            if pair[0] not in query and pair[0] not in {"lang", "theme"}
        ]
        kept += [(name, str(value)) for name, value in query.items() if value is not None]
        return f"{self.request.url.path}?{urlencode(kept)}" if kept else self.request.url.path


class Pages:
    """Renders templates.

    Args:
        folder: The folder with `templates/` and `locale/LANG/LC_MESSAGES/messages.po`.
        assets: For the addresses of static files.
        fresh: Whether to reload changed templates, for development.
        period_kinds: The kinds of period that are counted, offered in forms.
        day_starts: Local hour at which a business day begins.
    """

    def __init__(
        self,
        folder: Path,
        assets: Assets,
        *,
        fresh: bool = False,
        period_kinds: Sequence[str] = PERIOD_KINDS,
        day_starts: int = 0,
    ) -> None:
        self._folder = folder
        self._assets = assets
        self._period_kinds = [kind for kind in PERIOD_KINDS if kind in period_kinds]
        self._day_starts = day_starts
        self._fresh = fresh
        self._environments: dict[str, Environment] = {}

    @cached_property
    def names(self) -> list[Names]:
        """The names of things in each language."""
        return [Names(locale, translations_in(self._folder / "locale", locale).gettext) for locale in LANGUAGES]

    def prepare(self) -> None:
        """Loads every template in every language, so that readers need not wait for it (a fifth of a second).

        Runs in a thread; until it is done, readers wait for the template of their page.
        """
        for locale in () if self._fresh else LANGUAGES:
            environment = self._environment(locale)
            for name in environment.list_templates():
                environment.get_template(name)

    def render(self, name: str, visitor: Visitor, context: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
        """A page in the reader's language.

        Args:
            name: The template's name.
            visitor: The reader.
            context: Variables for the template; see `streams.web` for those it gets anyway.
            status: HTTP status.
        """
        template = self._environment(visitor.locale).get_template(name)
        subject = Subject() if context.get("data") is None else visitor.subject(context["data"])
        text = template.render(
            **{"past": None, "dated": False, **context},
            visitor=visitor,
            request=visitor.request,
            path=visitor.request.url.path,
            locale=visitor.locale,
            theme=visitor.theme,
            kiosk=visitor.kiosk,
            url=visitor.url,
            here=visitor.here,
            nav=lambda address: visitor.url(address, **subject.query(address)),
            found=visitor.found,
        )
        response = HTMLResponse(text, status, headers={"cache-control": "no-cache", "vary": "cookie, accept-language"})
        visitor.remember(response)
        return response

    def words(self, scope: Scope, message: Message) -> str:
        """A message in the reader's language.

        Args:
            scope: The ASGI scope of the request.
            message: What to say.
        """
        locale = Visitor(Request(scope)).locale
        return message.translated(self.names[LANGUAGES.index(locale)].gettext)

    def login(self, scope: Scope, asked: list[tuple[str, str]], wrong: bool) -> str:  # noqa: FBT001 - as `security.Login` is called
        """The page that asks for the token, in the reader's language.

        Args:
            scope: The ASGI scope of the request.
            asked: Its query, without the token.
            wrong: Whether a wrong token was given.
        """
        visitor = Visitor(Request(scope))
        template = self._environment(visitor.locale).get_template("login.html")
        return template.render(locale=visitor.locale, theme=visitor.theme, asked=asked, wrong=wrong)

    def _environment(self, locale: str) -> Environment:
        if self._fresh or locale not in self._environments:
            self._environments[locale] = self._make_environment(locale)
        return self._environments[locale]

    def _make_environment(self, locale: str) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(self._folder / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        )
        translations = translations_in(self._folder / "locale", locale)
        environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined] # the i18n extension adds it
        environment.filters.update(filters.of_locale(locale, translations.gettext))
        # What is wrong, in the reader's language where it can be said in it.
        environment.filters["said"] = lambda text: said(text, translations.gettext)
        environment.tests["message"] = lambda text: isinstance(text, Message)
        environment.globals["window_rows"] = RowLines(environment.filters, translations.gettext)
        environment.globals["static"] = self._assets.url
        environment.globals["locales"] = LANGUAGES
        environment.globals["period_kinds"] = self._period_kinds
        environment.globals["day_starts"] = self._day_starts
        return environment


@lru_cache(maxsize=1024)
def _accepted(header: str) -> str:
    """The one of our languages that the browser prefers."""
    wanted = []
    for number, part in enumerate(header.split(",")[:20]):
        name, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), number, name.partition("-")[0].lower()))
        except ValueError:
            continue
    return next((name for _, _, name in sorted(wanted) if name in LANGUAGES), LANGUAGES[0])
