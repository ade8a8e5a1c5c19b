"""The web view: pages, JSON and a stream of changes, from the output topics alone.

A separate process (`milestones web`) that reads without a consumer group, so workers do not notice it. While workers or brokers are
down, it keeps serving pages, marked stale.

composition  app.py, server.py (life cycle), context.py
reading      topic_follower.py (output topics → read model), topic_identity.py, bounded_waits.py, readmodel/ (an embedded database:
             typed queries and results), orders.py (single orders, from the changelog)
pages        pages.py, views/ (what each page shows, as models), api.py (/api/v1: the views as JSON), routes.py, subject.py,
             conditional.py (304 for what a client already has)
rendering    rendering.py (templates, languages, themes), filters.py, names.py, terms.py, times.py, spoken_dates.py, rowlines.py (the
             lines of the windows table), vehicles.py, assets.py (static files under their content's hash)
stream       sse.py (changes as server-sent events)
access       security.py
health       status.py (of the service), health.py, metrics.py, business_metrics.py

## What a template gets

Templates are in `templates/`, one per page:

| address | template | `data`, in `streams.web.views` | JSON twin under `/api/v1` |
| --- | --- | --- | --- |
| `/` | `now.html` | `now.Now` | `/now` |
| `/calendar` | `calendar.html` | `calendar.CalendarView` | `/calendar` |
| `/calendar/{date}` | `day.html` | `calendar.DayView` | `/calendar/{date}` |
| `/campaigns/{name}` | `campaign.html` | `campaigns.CampaignView` | `/campaigns/{name}` |
| `/milestones` | `milestones.html` | `milestones.MilestonesView` | `/milestones` |
| `/milestones/{id}` | `milestone.html` | `milestones.MilestoneView` | `/milestones/{id}` |
| `/windows` | `windows.html` | `windows.WindowsTable` | `/windows`, `/windows.csv`, `/windows.ndjson` |
| `/windows/side-by-side` | `side-by-side.html` | `windows.SideView` | `/windows/side-by-side`, also `.csv` and `.xlsx` |
| `/compare` | `compare.html` | `compare.CompareView` | `/compare`, `/compare.csv` |
| `/targets` | `targets.html` | `targets.TargetsView` | `/targets` |
| `/orders/{id}` | `order.html` | `orders.OrderView` | `/orders/{id}` |
| `/units` | `units.html` | `orders.UnitsView` | `/units` |
| `/search` | `search.html` | `search.SearchView` | `/search` |
| `/dead-letters` | `dead-letters.html` | `rejected.DeadLettersView` | `/dead-letters` |
| `/violations` | `violations.html` | `rejected.ViolationsView` | `/violations` |
| `/reconciliation` | `reconciliation.html` | `rejected.ReconciliationView` | `/reconciliation` |
| `/api` | `api.html` | `document`: the OpenAPI document, a dict | `/openapi.json` |
| any, if several scopes match a search | `scopes.html` | `wanted`, `links`, `listed` | `/scopes?search=` |
| errors | `error.html` | `code`, `message` | `detail`, and the `parameter` at fault |

A page and its twin take the same parameters (the models `...Parameters` next to the views), so the address of a page's data is
`/api/v1` + its own path and query (`/api/v1/now` for `/`). All output is escaped; an undefined name is an error. Each page gets

- `data`: see above; the parameters are usually in `data.parameters`;
- `status`: `streams.web.status.ServiceStatus`, also on the error page;
- `locale` (`en`, `zh`), `locales`, `theme` (`auto`, `light`, `dark`), `kiosk` (bool), `path`, `visitor`, `request`;
- `url(path, **query)`: address of a page, keeping kiosk mode and the earlier moment being shown (`as_of`); `nav(path)`: the same,
  with scope, metric and period of this page; `found(address)`: an address from the view; `here(**query)`: this page with parts of
  its query replaced (`None` removes one), such as `here(lang="zh")`, `here(sort=None)`;
- `past`: the earlier moment being shown, `None` is now; `dated`: whether the page can be shown as of a moment. `status` then has the
  business clock of that moment;
- `static("app.js")`: address of a static file, with the hash of its content, cached forever. A file imported by another one,
  without a hash, is revalidated on each request (304);
- `_("text")`, `gettext`, `ngettext`, `{% trans %}`: translated by `locale/LANG/LC_MESSAGES/messages.po` (read at start, no compiled
  file); the texts in the templates are English;
- filters `number`, `percent`, `signed`, `day(form)`, `part_of_date(field)`, `instant(timezone, form)`, see `filters.py`, the place for
  more of them; names of things (`metric`, `scope`, `period`, `sentence`, ...) are in `names.py`, those for less frequent pages in `terms.py`; the sentences about
  milestones and alerts, with a catalogue of their own, are in `streams.wording`.

Forms are plain GET forms. A redirect (`routes.tidied`) removes empty fields, and turns a moment by the business clock (`at`) into an
exact one. A new text needs a Chinese translation: `locale/babel.cfg` says how, and a test checks it.

There is no nonce: scripts, styles and data all come from our own files or `/api/v1`. No inline scripts, `style` attributes, `<style>`
elements or event handler attributes; widths and heights that depend on data go into SVG attributes or are set by script
(`element.style` is allowed). Data for a script are in a `data-` attribute, or at an address under `/api/v1`. `?lang=` and `?theme=`
are remembered in cookies (`lang`, `theme`), which a script may also set.

For development, `milestones web --fresh` reloads templates and static files on each request.

## Questions

`with web.model.snapshot() as view:`, see `streams.web.readmodel`: `view.windows`, `view.milestones`, `view.forecasts`,
`view.dead_letters`, `view.violations`, `view.statuses()`. The queries of a page belong in `views/`, not in templates.

## Events

`GET /api/v1/stream?metric=&scope=&period=&rows=` (all but `rows` may be repeated; `period` is a prefix of period ids) answers
`text/event-stream`. Every `data` is one line of JSON.

| event | data |
| --- | --- |
| `hello` | `{}`: the first event for a new client; everything earlier is in the page |
| `row` | a window row as on the topic; several changes within 0.2 s are merged |
| `row-gone` | `metric`, `scope`, `period` of a row that was removed |
| `milestone` | a milestone event as on the topic |
| `forecast`, `forecast-withdrawn` | a forecast as on the topic; its `key` |
| `status` | `ServiceStatus` as at `/api/v1/status`, every second: if none comes for 4 s, the page is stale |
| `reset` | `{}`: reload the page's data (the reader has started over, or the client was away too long) |

Ids let a briefly disconnected browser resume where it was (`Last-Event-ID`, which `EventSource` sends by itself).
"""
