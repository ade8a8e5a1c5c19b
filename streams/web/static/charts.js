"use strict";
/*
 * Charts: <figure class="chart" data-chart='{"kind": …}'> with a .plot, the .key of each series in the order below, and a
 * .readout for what is under the pointer. Each also has a table in the page, as a canvas tells a screen reader nothing.
 *
 *   day    hours (24 counts), usual (24 or null), goal (or null), date, now, row     cumulative over the day
 *   hours  hours, usual                                                              a bar for each hour
 *   minutes sum (whether cumulative), minutes (counts), length, elapsed, row         by the minute of a campaign
 *   span   start, end, today, now, days (counts), count, plan (or null),             cumulative over a period
 *          total ({p10, p50, p90} or null)
 *   lines  dates, series: [{values, look: now | usual | goal | plan | low | high}]    anything by date
 */
window.Charts = (() => {
  const locale = document.documentElement.lang;
  const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
  /* Units are whole: no line between 0 and 1. */
  const UNIT_STEPS = [...Array(10).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));
  const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
  const DAY_MS = 86_400_000;
  const charts = new Map();
  const dateFormat = (options) => new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" });
  const monthName = dateFormat({ month: "short" });
  const chineseDay = dateFormat({ day: "numeric", month: "short" });
  /* As the pages write dates: 7 Oct. */
  const dayMonth = (date) => (locale === "en" ? `${date.getUTCDate()} ${monthName.format(date)}` : chineseDay.format(date));

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  function colour(name, alpha = 1) {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\d.]+/g);
    return `rgba(${parts.slice(0, 3).join(",")},${alpha})`;
  }

  const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
  /* From the first unknown value (null) on, all are unknown. */
  const plus = (sum, value) => (sum === null || value === null ? null : sum + value);
  const runningSum = (values) => values.reduce((sums, value) => [...sums, plus(sums[sums.length - 1], value)], [0]);
  const atUtc = (date) => Date.parse(`${date}T00:00:00Z`);
  const daysBetween = (first, last) => Math.round((atUtc(last) - atUtc(first)) / DAY_MS);
  /* Hours since a business day began, from a text that has them as its time of day: 14.5 is half past the fourteenth hour. */
  const hourOf = (instant) => Number(instant.slice(11, 13)) + Number(instant.slice(14, 16)) / 60;

  function interpolated(sums, x) {
    const low = Math.min(Math.floor(x), sums.length - 1);
    const high = Math.min(low + 1, sums.length - 1);
    return sums[low] === null || sums[high] === null ? null : sums[low] + (sums[high] - sums[low]) * (x - low);
  }

  const LOOKS = {
    now: () => ({ stroke: () => colour("accent"), fill: () => colour("accent", 0.12), width: 2.5 }),
    line: () => ({ stroke: () => colour("accent"), width: 2.5 }),
    usual: () => ({ stroke: () => colour("usual"), width: 2 }),
    goal: () => ({ stroke: () => colour("gold"), width: 2, dash: [7, 5] }),
    plan: () => ({ stroke: () => colour("usual"), width: 1.6, dash: [6, 5] }),
    projected: () => ({ stroke: () => colour("accent"), width: 2, dash: [5, 4] }),
    edge: () => ({ stroke: () => colour("accent", 0.35), width: 1 }),
    bars: () => ({ stroke: () => colour("accent"), fill: () => colour("accent", 0.85), width: 0,
      paths: uPlot.paths.bars({ size: [0.72, 80] }) }),
  };
  const series = (look, extra = {}) => {
    const { width, ...rest } = LOOKS[look]();
    return { ...rest, width: width * Math.max(rem() / 16, 1), points: { show: false }, ...extra };
  };

  /* What to draw: x values, columns with their looks, bands, the ticks of x, and the texts of ticks and read-out. */
  function dayPlan(spec) {
    const sums = runningSum(spec.hours);
    const over = spec.now.slice(0, 10) > spec.date;
    const now = over ? 24 : Math.max(hourOf(spec.now), spec.hours.findLastIndex((count) => count > 0));
    const xs = [...new Set([...Array(25).keys(), now])].sort((a, b) => a - b);
    const columns = [{ look: "now", values: xs.map((x) => (x < now ? interpolated(sums, x) : x === now ? sums[24] : null)), end: true }];
    if (spec.usual) {
      const usual = runningSum(spec.usual);
      columns.push({ look: "usual", values: xs.map((x) => interpolated(usual, x)) });
    }
    if (spec.goal !== null) columns.push({ look: "goal", values: xs.map(() => spec.goal) });
    return { xs, columns, ...hourAxis(false) };
  }

  /* The local hour with a number in the business day; where days begin at midnight, the last one ends at 24:00. */
  const DAY_STARTS = Number(document.body.dataset.dayStarts || 0);
  const localHour = (hour) => (DAY_STARTS ? (hour + DAY_STARTS) % 24 : hour);

  function hourAxis(centred) {
    const text = (hour) => `${String(Math.floor(localHour(hour))).padStart(2, "0")}:${String(Math.round((hour % 1) * 60)).padStart(2, "0")}`;
    return {
      range: [0, 24],
      ticks: (width) => [...Array(25).keys()].filter((hour) => hour % (width > 26 ? 3 : 6) === 0),
      tick: (hour) => String(localHour(hour)).padStart(2, "0"),
      say: (x) => (centred ? `${text(Math.floor(x))} – ${text(Math.floor(x) + 1)}` : text(x)),
    };
  }

  function hoursPlan(spec) {
    const columns = [{ look: "bars", values: spec.hours }];
    if (spec.usual) columns.push({ look: "usual", values: spec.usual });
    return { xs: [...Array(24).keys()].map((hour) => hour + 0.5), columns, ...hourAxis(true) };
  }

  /* Minutes of a campaign up to now and a little beyond; if there are very many, a sample, so that a week can be drawn. */
  const MOST_MINUTES = 1500;
  const SPANS = [10, 30, 60, 120, 180, 360, 720, 1440, 2880, 5760];
  function minutesPlan(spec) {
    const now = Math.min(Math.max(spec.elapsed, spec.minutes.length), spec.length);
    const end = Math.min(SPANS.find((span) => span >= now) ?? spec.length, spec.length);
    const step = Math.ceil(end / MOST_MINUTES);
    const counts = [...Array(now).keys()].map((minute) => spec.minutes[minute] ?? 0);
    const whole = [...Array(Math.ceil(now / step)).keys()].map((number) => counts.slice(number * step, (number + 1) * step).reduce((sum, count) => sum + count, 0));
    const text = (minute) => `${Math.floor(minute / 60)}:${String(Math.round(minute % 60)).padStart(2, "0")}`;
    const every = (width) => [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].find((size) => end / size <= Math.max(width / 3.4, 2)) ?? 1440;
    const axis = {
      range: [0, end],
      ticks: (width) => [...Array(Math.floor(end / every(width)) + 1).keys()].map((number) => number * every(width)).filter((minute) => minute < 0.97 * end),
      tick: text,
      say: (x) => text(Math.floor(x)),
    };
    if (spec.sum) {
      const xs = [...Array(whole.length + 1).keys()].map((number) => Math.min(number * step, now));
      return { xs, columns: [{ look: "now", values: runningSum(whole), end: true }], ...axis };
    }
    return { xs: whole.map((_, number) => (number + 0.5) * step), columns: [{ look: "bars", values: whole }], ...axis };
  }

  function spanPlan(spec) {
    const length = daysBetween(spec.start, spec.end) + 1;
    const sums = runningSum(spec.days);
    const over = spec.today > spec.end;
    const now = over ? length : Math.max(0, daysBetween(spec.start, spec.today)) + Math.max(hourOf(spec.now) / 24, 0.02);
    const xs = [...new Set([...Array(length + 1).keys(), now])].sort((a, b) => a - b);
    const columns = [{ look: "now", values: xs.map((x) => (x < now ? interpolated(sums, x) : x === now ? spec.count : null)), end: true }];
    if (spec.plan !== null) columns.push({ look: "plan", values: xs.map((x) => (spec.plan * x) / length) });
    const bands = [];
    if (spec.total && spec.total.p50 !== null && !over) {
      const towards = (end) => xs.map((x) => (x < now ? null : spec.count + ((end - spec.count) * (x - now)) / (length - now)));
      columns.push({ look: "projected", values: towards(spec.total.p50) });
      if (spec.total.p10 !== null) {
        columns.push({ look: "edge", values: towards(spec.total.p90), part: "high" }, { look: "edge", values: towards(spec.total.p10), part: "low" });
        bands.push({ series: [columns.length - 1, columns.length], fill: () => colour("accent", 0.2) });
      }
    }
    return { xs, columns, bands, ...dateAxis(spec.start, length, true) };
  }

  function dateAxis(start, length, cumulative) {
    const first = atUtc(start);
    const dateAt = (index) => new Date(first + index * DAY_MS);
    const long = length > 62;
    const offset = cumulative ? 0.5 : 0;
    const indices = [...Array(length).keys()];
    return {
      range: cumulative ? [0, length] : [0, Math.max(length - 1, 1)],
      ticks: (width) => {
        if (long) return indices.filter((index) => dateAt(index).getUTCDate() === (cumulative ? 15 : 1)).filter((_, n) => width > 24 || n % 2 === 0);
        const step = Math.max(1, Math.ceil(length / Math.max(width / (length > 12 ? 2.6 : 4.2), 2)));
        return indices.filter((index) => index % step === 0).map((index) => index + offset);
      },
      tick: (x) => {
        const date = dateAt(Math.floor(x));
        return long ? monthName.format(date) : length > 12 ? String(date.getUTCDate()) : dayMonth(date);
      },
      say: (x) => dayMonth(dateAt(cumulative ? Math.max(Math.ceil(x) - 1, 0) : Math.round(x))),
    };
  }

  function linesPlan(spec) {
    const start = spec.dates[0];
    const xs = spec.dates.map((date) => daysBetween(start, date));
    const look = { low: "edge", high: "edge", now: "line" };
    const columns = spec.series.map((each) => ({ look: look[each.look] ?? each.look, values: each.values, part: each.look }));
    const place = (part) => columns.findIndex((column) => column.part === part) + 1;
    const bands = place("low") && place("high") ? [{ series: [place("high"), place("low")], fill: () => colour("accent", 0.2) }] : [];
    return { xs, columns, bands, ...dateAxis(start, xs[xs.length - 1] + 1, false) };
  }

  /* Periods superimposed: the first, second, third day of each. */
  function placesPlan(spec) {
    const xs = [...Array(spec.most).keys()].map((index) => index + 1);
    const step = (width) => Math.max(1, Math.ceil(spec.most / Math.max(width / 3, 2)));
    return {
      xs,
      columns: spec.series.map(({ look, values }) => ({ look, values, end: look === "now" })),
      range: [1, Math.max(spec.most, 2)],
      ticks: (width) => xs.filter((x) => (x - 1) % step(width) === 0),
      tick: (x) => whole.format(x),
      say: (x) => whole.format(x),
    };
  }

  /* Width and height of a chart on A4 and Letter, as the print style has it, so that its text is not stretched. */
  const PAPER = { width: 704, height: 100 };
  let paper = false;

  const PLANS = { places: placesPlan, day: dayPlan, hours: hoursPlan, minutes: minutesPlan, span: spanPlan, lines: linesPlan };

  function draw(figure) {
    const text = figure.dataset.chart;
    let chart = charts.get(figure);
    if (chart && chart.text === text && !chart.dated) return;
    const spec = JSON.parse(text);
    const plan = PLANS[spec.kind](spec);
    const data = [plan.xs, ...plan.columns.map((column) => column.values)];
    const shape = plan.columns.map((column) => column.look).join();
    if (chart && chart.shape === shape && !chart.dated) {
      Object.assign(chart, { text, spec, plan });
      chart.plot.setData(data);
      return;
    }
    chart?.plot.destroy();
    if (!chart) {
      chart = {};
      charts.set(figure, chart);
      resizes.observe(figure.querySelector(".plot"));
    }
    Object.assign(chart, { text, spec, plan, shape, dated: false });
    chart.plot = new uPlot(options(figure, chart), data, figure.querySelector(".plot"));
  }

  function options(figure, chart) {
    const host = figure.querySelector(".plot");
    const size = rem();
    const font = `${Math.round(size * 0.76)}px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { font, stroke: () => colour("muted"), ticks: { show: false } };
    const top = () => Math.max(1, ...chart.plan.columns.flatMap((column) => column.values.filter((value) => value !== null)));
    return {
      ...(paper ? PAPER : { width: Math.max(host.clientWidth, 60), height: Math.max(host.clientHeight, 60) }),
      padding: [size * 0.5, size * 0.6, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: size * 0.5 } },
      scales: { x: { time: false, range: () => chart.plan.range }, y: { range: () => [0, top() * 1.06] } },
      axes: [
        { ...axis, grid: { show: false }, size: size * 1.6, gap: size * 0.35,
          splits: (plot) => chart.plan.ticks(plot.width / rem()), values: (_, at) => at.map((x) => chart.plan.tick(x)) },
        { ...axis, grid: { stroke: () => colour("line"), width: 1 }, size: size * 3, gap: size * 0.35, space: (plot, axis, low, high, height) => Math.max(size * 2.4, height / 5.5),
          incrs: UNIT_STEPS, values: (_, at) => at.map((y) => (y >= 10_000 ? short : whole).format(y)) },
      ],
      series: [{}, ...chart.plan.columns.map((column) => series(column.look, column.end ? { points: lastPoint(chart) } : {}))],
      bands: chart.plan.bands ?? [],
      hooks: { setCursor: [(plot) => readOut(figure, chart, plot)] },
    };
  }

  /* A dot at the end of the line marks now. */
  function lastPoint(chart) {
    return {
      show: true, size: rem() * 0.55, fill: () => colour("accent"), stroke: () => colour("surface"), width: rem() * 0.1,
      filter: (plot, number) => [plot.data[number].findLastIndex((value) => value !== null)],
    };
  }

  function readOut(figure, chart, plot) {
    const place = figure.querySelector(".readout");
    const at = plot.cursor.idx;
    if (!place) return;
    if (at === null || at === undefined) {
      place.textContent = "";
      return;
    }
    const names = [...figure.querySelectorAll(".key")].map((key) => key.textContent);
    const parts = [];
    chart.plan.columns.forEach((column, number) => {
      const value = column.values[at];
      if (value === null || value === undefined || column.part === "low") return;
      const low = column.part === "high" ? chart.plan.columns.find((other) => other.part === "low") : null;
      const said = low ? `${whole.format(low.values[at])} – ${whole.format(value)}` : whole.format(value);
      parts.push(`${names[parts.length] ?? ""} ${said}`);
    });
    const colon = document.documentElement.lang.startsWith("zh") ? "：" : ": ";
    place.textContent = `${chart.plan.say(chart.plan.xs[at])}${colon}${parts.join(" · ")}`;
  }

  const resizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = charts.get(target.closest("figure"));
      if (chart && target.clientWidth > 0 && !paper) chart.plot.setSize({ width: target.clientWidth, height: target.clientHeight });
    }
  });

  return {
    /* Draws charts that are new or changed. */
    refresh() {
      for (const [figure, chart] of charts) {
        if (!figure.isConnected) {
          chart.plot.destroy();
          charts.delete(figure);
        }
      }
      document.querySelectorAll("figure[data-chart]").forEach(draw);
    },
    /* Redraws everything: the theme or the text size has changed, or the page is printed. */
    restyle(onPaper = false) {
      paper = onPaper;
      for (const chart of charts.values()) chart.dated = true;
      this.refresh();
    },
    /* A row has changed: the charts of its day, or campaign, follow at once. */
    row(key, row) {
      for (const [figure, chart] of charts) {
        if (chart.spec.row !== key || !(row.by_hour || row.by_minute)) continue;
        const counts = row.by_hour ? { hours: row.by_hour } : { minutes: row.by_minute };
        figure.dataset.chart = JSON.stringify({ ...chart.spec, ...counts });
        draw(figure);
      }
    },
    /* The clock of the service. */
    clock(now) {
      for (const [figure, chart] of charts) {
        if (chart.spec.now && chart.spec.now.slice(0, 16) !== now.slice(0, 16) && chart.spec.kind === "day" && chart.spec.date === now.slice(0, 10)) {
          figure.dataset.chart = JSON.stringify({ ...chart.spec, now });
          draw(figure);
        }
      }
    },
  };
})();
