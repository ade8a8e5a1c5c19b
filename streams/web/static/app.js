"use strict";
/*
 * The live behaviour of a page. Without this script it is complete, but static.
 *
 * Numbers that follow a row ([data-row], [data-bar], the chart of today) change at once with its event. Anything that depends
 * on more than one row is left to the server: the page is fetched again, as rarely as its content allows, and the differences
 * are changed in place, so that focus, selection and opened details stay.
 */
(() => {
  const { body } = document;
  const root = document.documentElement;
  const strip = document.getElementById("strip");
  const texts = strip.dataset;
  const main = document.getElementById("main");
  const polite = document.getElementById("polite");
  const live = body.dataset.live === "yes";
  const number = new Intl.NumberFormat(root.lang);
  const colon = root.lang.startsWith("zh") ? "：" : ": ";
  // Swedish dates are written as in ISO 8601.
  const clock = inZone("sv-SE", { dateStyle: "short", timeStyle: "medium" });
  const zone = inZone("en", { timeZoneName: "longOffset" });

  const SILENT_MS = 4000;
  const URGENT_MS = 1000;
  const UNHURRIED_MS = 4000;
  const BANNER_MS = 30_000;

  function inZone(locale, options) {
    try {
      return new Intl.DateTimeFormat(locale, { ...options, timeZone: body.dataset.zone });
    } catch {
      return new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" });
    }
  }
  /* Such as 2024-10-07 21:10:44+08:00, as the server writes it. */
  function instant(text) {
    if (!text) return "\u2013";
    const moment = new Date(text);
    const offset = zone.formatToParts(moment).find((part) => part.type === "timeZoneName").value.slice(3);
    return `${clock.format(moment)}${offset || "+00:00"}`;
  }
  /* With the date if it is another day's. */
  function lately(text, now) {
    const whole = instant(text);
    return whole.slice(0, 10) === instant(now).slice(0, 10) ? whole.slice(11) : whole;
  }
  const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];
  function duration(seconds) {
    const [unit, size] = UNITS.find(([, size]) => seconds / size >= 2) ?? UNITS[UNITS.length - 1];
    return new Intl.NumberFormat(root.lang, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 }).format(Math.max(seconds, 0) / size);
  }

  function put(element, text) {
    if (typeof element === "string") element = document.getElementById(element);
    if (!element || element.textContent === text) return false;
    element.textContent = text;
    if ("length" in element.dataset) element.dataset.length = text.length;
    return true;
  }
  function tick(element) {
    element.classList.remove("ticked");
    void element.offsetWidth; // restarts the animation
    element.classList.add("ticked");
  }
  function say(text) {
    polite.textContent = "";
    setTimeout(() => { polite.textContent = text; }, 50);
  }

  /* ---- the page in place ---- */

  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) {
        old.data = fresh.data;
        if (old.parentElement?.matches("[data-row]")) tick(old.parentElement);
      }
      return;
    }
    // These belong to scripts or to the reader.
    if (old.matches(".plot, .readout, [data-copy]")) return;
    if (old.matches("input, select, textarea") && old === document.activeElement) return;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && name !== "tabindex") old.setAttribute(name, value);
    }
    morphChildren(old, fresh);
  }
  function morphChildren(old, fresh) {
    const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let cursor = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const alike = cursor && !cursor.id && cursor.nodeName === next.nodeName ? cursor : null;
      const same = next.id ? named.get(next.id) : alike;
      if (!same) old.insertBefore(next, cursor);
      else {
        if (same === cursor) cursor = cursor.nextSibling;
        else old.insertBefore(same, cursor);
        morph(same, next);
      }
    }
    while (cursor) {
      const after = cursor.nextSibling;
      cursor.remove();
      cursor = after;
    }
  }

  /* A page in the language of this one: another tab may have chosen another. */
  async function pageAt(address) {
    const asked = new URL(address, location.href);
    asked.searchParams.set("lang", root.lang.slice(0, 2));
    const response = await fetch(asked, { headers: { accept: "text/html" }, cache: "no-store" });
    if (!response.ok || response.redirected) throw new Error(`${response.status}`);
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  let due = Infinity;
  let lastMs = -Infinity;
  let costMs = 0;
  let timer = 0;
  let busy = false;
  /* As of when the server made this page; the topics may be reread later. */
  let everythingRead = document.getElementById("s-rebuild").hidden;
  /* Fetches the page again, at least `gapMs` after the last time: a slow server is asked less often. */
  function refreshSoon(gapMs) {
    if (!live) return;
    const at = Math.max(performance.now(), lastMs + Math.max(gapMs, 3 * costMs));
    if (at >= due) return;
    due = at;
    clearTimeout(timer);
    timer = setTimeout(refresh, due - performance.now());
  }
  async function refresh() {
    if (busy) return; // fetched again at the end
    due = Infinity;
    if (document.hidden) return; // fetched when it becomes visible
    busy = true;
    lastMs = performance.now();
    try {
      const page = await pageAt(location.href);
      const fresh = page.getElementById("main");
      if (fresh && page.documentElement.lang === root.lang) {
        morph(main, document.importNode(fresh, true));
        body.dataset.date = page.body.dataset.date;
        enhance();
      }
    } catch {
      // The heartbeat shows whether the server is up.
    }
    costMs = performance.now() - lastMs;
    busy = false;
    if (due < Infinity) {
      const at = due;
      due = Infinity;
      refreshSoon(Math.max(at - lastMs, 0));
    }
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    follow();
    refreshSoon(0);
  });

  /* ---- what has changed ---- */

  function rowChanged(row) {
    if (!takes(row)) return;
    const key = `${row.metric}|${row.scope}|${row.period}`;
    for (const element of document.querySelectorAll("[data-row]")) {
      if (element.dataset.row === key && put(element, number.format(row.count))) tick(element);
    }
    for (const element of document.querySelectorAll("[data-bar]")) {
      if (element.dataset.bar === key) element.value = Math.min(row.count, element.max);
    }
    // How long a campaign has lasted is told with the next page; until then it must not belong to an older count.
    for (const element of document.querySelectorAll("[data-elapsed]")) {
      if (element.dataset.of === key) element.hidden = (row.by_minute?.length ?? 0) > Number(element.dataset.elapsed) + 1;
    }
    if (live) window.Charts?.row(key, row);
    refreshSoon(UNHURRIED_MS);
  }

  let heardMs = performance.now();
  let reasons = null;
  function statusHeard(status) {
    heardMs = performance.now();
    setReasons(status.stale ? status.reasons : []);
    setCauses(status.stale ? status.causes : []);
    const silent = status.workers.filter((worker) => worker.silent);
    const running = status.workers.filter((worker) => !worker.silent && worker.health !== "stopped");
    const broker = status.broker.reachable ? texts.tYes : texts.tNo;
    const missing = silent.length ? ` (${silent.map((worker) => worker.name).join(", ")} ${texts.tSilent})` : "";
    const made = document.getElementById("made");
    put(made, made.textContent.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d/, instant(status.now)));
    const asOf = lately(status.data_as_of, status.now);
    put("s-asof", asOf);
    put("s-last", instant(status.last_event_at));
    const known = status.reader.rebuilt;
    for (const id of ["s-workers", "o-workers"]) put(id, known ? number.format(running.length) + missing : "\u2013");
    const unknown = known && status.data_as_of ? texts.tUnknown.replace("#", asOf) : "\u2013";
    for (const id of ["s-lag", "o-lag"]) put(id, status.lag === null ? unknown : number.format(status.lag));
    for (const id of ["s-broker", "o-broker"]) put(id, broker);
    readingAt(status.reader);
    sourcesHeard(status);
    if (live) window.Charts?.clock(status.day_clock);
    if (status.business_date !== body.dataset.date) refreshSoon(URGENT_MS);
  }
  function readingAt(reader) {
    const isReading = "reading" in body.dataset;
    // Either everything has been read now, or this page shows topics that are being reread from their beginning.
    if (isReading ? reader.rebuilt : everythingRead && !reader.rebuilt) location.reload();
    else if (isReading) refreshSoon(URGENT_MS);
    everythingRead = reader.rebuilt;
    document.getElementById("s-rebuild").hidden = reader.rebuilt;
    const sum = (name) => reader.progress.reduce((total, feed) => total + feed[name], 0);
    put("s-read", new Intl.NumberFormat(root.lang, { style: "percent" }).format(sum("total") ? sum("done") / sum("total") : 0));
  }
  function sourcesHeard(status) {
    for (const row of document.querySelectorAll("[data-source]")) {
      const source = status.sources.find((each) => each.source === row.dataset.source);
      if (!source) continue;
      put(row.cells[1], instant(source.last_event_at));
      put(row.cells[2], duration((Date.parse(status.business_now) - Date.parse(source.last_event_at)) / 1000));
    }
  }
  /* The subject of each reason, and the command that helps. */
  let causes = null;
  function setCauses(now) {
    const said = JSON.stringify(now);
    if (said === causes) return;
    causes = said;
    const place = document.getElementById("s-cure");
    place.replaceChildren();
    for (const { what, command } of now) {
      for (const [name, text] of [["span", what], ["code", command]]) {
        if (!text) continue;
        const element = document.createElement(name);
        element.textContent = text;
        place.append(element, " ");
      }
    }
  }
  function setReasons(now) {
    const said = now.join();
    if (said === reasons) return;
    const before = reasons;
    reasons = said;
    body.classList.remove("still");
    body.classList.toggle("stale", now.length > 0);
    body.classList.toggle("fresh", now.length === 0);
    const why = now.map((reason) => texts[`t${reason[0].toUpperCase()}${reason.slice(1)}`] ?? reason).join(", ");
    put("s-state", now.length ? texts.tStale : texts.tLive);
    put("s-why", why);
    if (before !== null) say(now.length ? `${texts.tStale}${colon}${why}` : texts.tAgain);
  }
  setInterval(() => {
    if (!line || performance.now() - heardMs <= SILENT_MS) return;
    setReasons(["web"]);
    setCauses([{ what: location.host, command: "milestones web" }]);
  }, 500);

  /* ---- announcing a milestone ---- */

  const banner = document.getElementById("banner");
  const RANK = { first: 4, threshold: 3, target: 2, forecast_behind: 2, record: 1 };
  let shown = { rank: 0, sinceMs: -Infinity, more: 0, timer: 0 };
  async function milestoneHeard(event) {
    refreshSoon(URGENT_MS);
    if (event.type === "milestone.recorded.v1") return; // recorded, not news
    const rank = RANK[event.data.kind] ?? 0;
    if (rank < shown.rank && performance.now() - shown.sinceMs < BANNER_MS / 2) {
      shown.more += 1;
      banner.querySelector(".more").textContent = texts.tMore.replace("#", number.format(shown.more));
      return;
    }
    const more = performance.now() - shown.sinceMs < BANNER_MS / 2 ? shown.more + 1 : 0;
    clearTimeout(shown.timer);
    const mine = { rank, sinceMs: performance.now(), more, timer: setTimeout(hideBanner, BANNER_MS) };
    shown = mine;
    const address = `/milestones/${event.data.milestone_id.split("/").map(encodeURIComponent).join("/")}${root.classList.contains("kiosk") ? "?kiosk=1" : ""}`;
    try {
      const sentence = (await pageAt(address)).querySelector("[data-sentence]")?.textContent.trim();
      if (!sentence || shown !== mine) return; // a greater one has arrived meanwhile
      const link = banner.querySelector(".what");
      link.textContent = sentence;
      link.href = address;
      banner.querySelector(".more").textContent = mine.more ? texts.tMore.replace("#", number.format(mine.more)) : "";
      const looks = { "milestone.retracted.v1": "retracted", "alert.raised.v1": "warning" };
      banner.className = `banner ${event.data.kind} ${looks[event.type] ?? ""}`;
      banner.hidden = false;
      say(sentence);
    } catch {
      // It is in the list anyway.
    }
  }
  function hideBanner() {
    clearTimeout(shown.timer);
    shown = { rank: 0, sinceMs: -Infinity, more: 0, timer: 0 };
    banner.hidden = true;
  }
  document.getElementById("banner-close").addEventListener("click", hideBanner);

  /* ---- the stream ---- */

  const ACTS = {
    status: statusHeard,
    row: rowChanged,
    "row-gone": (row) => { if (takes(row)) refreshSoon(UNHURRIED_MS); },
    milestone: milestoneHeard,
    forecast: () => refreshSoon(UNHURRIED_MS),
    "forecast-withdrawn": () => refreshSoon(UNHURRIED_MS),
    reset: () => refreshSoon(URGENT_MS),
  };
  const wanted = new URLSearchParams(body.dataset.stream);
  const metrics = wanted.getAll("metric");
  const scopes = wanted.getAll("scope");
  const periods = wanted.getAll("period");
  /* Whether this page follows a row: the stream may also serve other pages. */
  function takes(row) {
    return wanted.get("rows") !== "false" && (!metrics.length || metrics.includes(row.metric))
      && (!scopes.length || scopes.includes(row.scope)) && (!periods.length || periods.some((start) => row.period.startsWith(start)));
  }

  const HERE_MS = 20_000;
  let line = null;
  let shares = "SharedWorker" in window;
  /* All pages of a browser share one stream if possible: a browser opens only six connections to a server. */
  function sharedLine() {
    const worker = new SharedWorker(body.dataset.worker);
    const timer = setInterval(() => worker.port.postMessage("here"), HERE_MS);
    const leave = () => {
      clearInterval(timer);
      worker.port.postMessage("leave");
      worker.port.close();
    };
    worker.addEventListener("error", () => {
      shares = false;
      clearInterval(timer);
      if (line?.leave === leave) { line = null; follow(); }
    });
    worker.port.onmessage = ({ data }) => ACTS[data.name](JSON.parse(data.data));
    worker.port.postMessage({ query: body.dataset.stream });
    return { leave };
  }
  function ownLine() {
    const stream = new EventSource(`/api/v1/stream?${body.dataset.stream}`);
    for (const [name, act] of Object.entries(ACTS)) stream.addEventListener(name, (event) => act(JSON.parse(event.data)));
    const leave = () => stream.close();
    // Refused for good (such as 429 or 503): the browser does not retry on its own.
    stream.addEventListener("error", () => {
      if (stream.readyState !== EventSource.CLOSED) return;
      setTimeout(() => { if (line?.leave === leave) { line = null; follow(); } }, 3000 + 2000 * Math.random());
    });
    return { leave };
  }
  function follow() {
    if (line || document.hidden) return;
    heardMs = performance.now();
    try {
      line = shares ? sharedLine() : ownLine();
    } catch {
      shares = false;
      line = ownLine();
    }
  }
  /* A page that nobody sees, in a hidden tab or behind the back button, holds no connection. */
  function leave() {
    line?.leave();
    line = null;
  }
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => {
    follow();
    if (event.persisted) refreshSoon(0);
  });

  /* ---- small things ---- */

  function enhance() {
    for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
    for (const grid of document.querySelectorAll("[data-roving]")) rove(grid);
    window.Charts?.refresh();
  }
  /* The links in a grid are a single tab stop; arrow keys move from one to the next. */
  function rove(grid) {
    const links = [...grid.querySelectorAll("a[data-index]")];
    const chosen = links.find((link) => link === document.activeElement) ?? links.find((link) => link.getAttribute("aria-current")) ?? links[0];
    for (const link of links) link.tabIndex = link === chosen ? 0 : -1;
  }
  document.addEventListener("keydown", (event) => {
    const link = event.target.closest?.("[data-roving] a[data-index]");
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7, PageUp: -28, PageDown: 28 }[event.key];
    if (!link || !step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = link.closest("[data-roving]").querySelector(`a[data-index="${Number(link.dataset.index) + step}"]`);
    if (!next) return;
    for (const other of document.querySelectorAll('[data-roving] a[tabindex="0"]')) other.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  /* `/` focuses the search field, unless the reader is typing in a field. */
  document.addEventListener("keydown", (event) => {
    const field = document.getElementById("q");
    if (event.key !== "/" || !field || event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea")) return;
    event.preventDefault();
    // Where the page is narrow or enlarged, the field is in the menu.
    if (field.offsetParent === null) document.getElementById("menu-button")?.click();
    field.focus();
    field.select();
  });
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field.matches("[data-submit]") || (field.matches("[data-scopes]") && (!field.value || offered(field)))) field.form.requestSubmit();
  });

  /* ---- scopes to search for ---- */

  const SEARCH_MS = 120;
  let searching = { timer: 0, number: 0 };
  const offered = (field) => [...field.list.options].some((option) => option.value === field.value);
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.matches?.("[data-scopes]")) return;
    clearTimeout(searching.timer);
    const number = ++searching.number;
    searching.timer = setTimeout(async () => {
      try {
        const response = await fetch(`/api/v1/scopes?${new URLSearchParams({ search: field.value, limit: 30 })}`);
        /* An answer to an earlier query does not answer this one. */
        if (!response.ok || number !== searching.number) return;
        const { scopes } = await response.json();
        field.list.replaceChildren(...scopes.map((found) => new Option(found.names.join(", ") || found.scope, found.scope)));
      } catch {
        /* Without an answer the server searches once the form is sent. */
      }
    }, SEARCH_MS);
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1500);
      say(texts.tCopied);
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    }
  });

  const menu = document.getElementById("menu-button");
  const isOpen = () => menu?.getAttribute("aria-expanded") === "true";
  function unfold(open) {
    menu.setAttribute("aria-expanded", String(open));
    document.getElementById("nav").classList.toggle("open", open);
  }
  menu?.addEventListener("click", () => unfold(!isOpen()));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !isOpen() || event.target.closest?.("select")) return;
    unfold(false);
    // Otherwise the focus would be on what is no longer there.
    menu.focus();
  });

  const theme = document.getElementById("theme");
  const FOLLOWING = { auto: "dark", dark: "light", light: "auto" };
  theme?.addEventListener("click", (event) => {
    event.preventDefault();
    const wanted = FOLLOWING[root.dataset.theme];
    root.dataset.theme = wanted;
    document.cookie = `theme=${wanted}; path=/; max-age=31536000; samesite=strict`;
    const address = new URL(location.href);
    if (address.searchParams.has("theme")) {
      address.searchParams.delete("theme");
      history.replaceState(null, "", address);
    }
    const name = theme.dataset[`theme${wanted[0].toUpperCase()}${wanted.slice(1)}`];
    theme.title = name;
    put(theme.querySelector(".visually-hidden"), name);
    say(name);
    window.Charts?.restyle();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.Charts?.restyle());

  /* Paper is white, whatever the theme of the screen. */
  let screenTheme = null;
  addEventListener("beforeprint", () => {
    screenTheme ??= root.dataset.theme;
    root.dataset.theme = "light";
    window.Charts?.restyle(true);
  });
  addEventListener("afterprint", () => {
    if (screenTheme !== null) root.dataset.theme = screenTheme;
    screenTheme = null;
    window.Charts?.restyle();
  });

  enhance();
  follow();
})();
