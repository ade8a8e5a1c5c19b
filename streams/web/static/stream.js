"use strict";
/*
 * One event stream for all pages of a browser, which opens at most six connections to a server. A page says what it
 * follows, and says goodbye; one that has been silent for a while is gone.
 */
(() => {
  const NAMES = ["status", "row", "row-gone", "milestone", "forecast", "forecast-withdrawn", "reset"];
  const GONE_MS = 90_000;
  const pages = new Map();
  let source = null;
  let followed = null;
  let status = null;

  const tell = (port, name, data) => port.postMessage({ name, data });
  const tellAll = (name, data) => { for (const port of pages.keys()) tell(port, name, data); };

  /* What all pages together follow: the rows of one filter, or all rows if filters differ. */
  function needed() {
    const filters = new Set([...pages.values()].map((page) => page.query));
    filters.delete("rows=false");
    return filters.size > 1 ? "" : [...filters][0] ?? "rows=false";
  }
  function renew() {
    for (const [port, page] of pages) if (performance.now() - page.heardMs > GONE_MS) pages.delete(port);
    const query = needed();
    if (pages.size && source && [query, ""].includes(followed)) return;
    if (pages.size && source && query === "rows=false") return; // it delivers more than is needed
    source?.close();
    const before = source;
    source = null;
    if (pages.size) open(query, before !== null);
  }
  function open(query, again) {
    followed = query;
    const mine = source = new EventSource(`/api/v1/stream?${query}`);
    for (const name of NAMES) {
      mine.addEventListener(name, (event) => {
        if (name === "status") status = { data: event.data, heardMs: performance.now() };
        tellAll(name, event.data);
      });
    }
    // Events between the two connections were missed.
    if (again) mine.addEventListener("hello", () => tellAll("reset", "{}"), { once: true });
    // Refused for good (such as 429 or 503): the browser does not retry on its own.
    mine.addEventListener("error", () => {
      if (mine.readyState === EventSource.CLOSED) {
        setTimeout(() => { if (source === mine) { source = null; renew(); } }, 3000 + 2000 * Math.random());
      }
    });
  }

  addEventListener("connect", ({ ports: [port] }) => {
    port.onmessage = ({ data }) => {
      if (data === "leave") pages.delete(port);
      else if (data === "here") {
        const page = pages.get(port);
        if (page) page.heardMs = performance.now();
      } else {
        pages.set(port, { query: data.query, heardMs: performance.now() });
        if (status && performance.now() - status.heardMs < 2000) tell(port, "status", status.data);
      }
      renew();
    };
  });
})();
