// The last hour in small charts, drawn by uPlot: what was achieved, what the pace allows, and the quota.

import { rate, timeOfDay } from "./figures.js";
import { element, say } from "./page.js";

const LONGEST_SECONDS = 3600;
const SHORTEST_SECONDS = 120;
const HEIGHT = 128;
const HEIGHT_ON_PHONES = 96;
const SMOOTHED = 6; // samples: counts of videos come in bunches
const ALL = "";

// What is drawn: the achieved line first, then its limits. `of` says whose columns they are.
const KINDS = [
  { title: "Starts", unit: "a second", of: "lanes", lines: ["starts", "start_pace", "start_quota"] },
  { title: "Result pages", unit: "a second", of: "lanes", lines: ["gets", "get_pace", "get_quota"] },
  { title: "Jobs at once", unit: "", of: "lanes", lines: ["jobs", "jobs_limit"] },
  { title: "Videos finished", unit: "a minute", of: "backfills", lines: ["videos"], times: 60, isSmooth: true },
  { title: "Labels", unit: "a second", of: "backfills", lines: ["labels"], isSmooth: true },
  { title: "Throttled calls", unit: "a minute", of: "lanes", lines: ["throttled"], times: 60, isWarning: true },
];
const MEANINGS = { start_pace: "pace", get_pace: "pace", start_quota: "quota", get_quota: "quota", jobs_limit: "limit" };

export class Charts {
  constructor(box, choice) {
    this.at = [];
    this.columns = { lanes: {}, backfills: {} };
    this.choice = choice;
    this.choice.append(element("option", { value: ALL, text: "all lanes" }));
    this.drawn = KINDS.map((kind) => new Chart(box, kind));
    this.choice.addEventListener("change", () => this.#draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw({ anew: true }));
  }

  /** Time of the latest sample. */
  get latest() {
    return this.at.at(-1) ?? 0;
  }

  /** Take in an answer of /api/history. */
  add(told) {
    const before = this.at.length;
    this.at.push(...told.at);
    for (const owners of Object.keys(this.columns)) merge(this.columns[owners], told[owners], before, told.at.length);
    this.#forget();
    this.#offer(Object.keys(this.columns.lanes).sort());
    this.#draw();
  }

  /** A lane's latest value; null where there is none. */
  now(lane, name) {
    return this.columns.lanes[lane]?.[name].at(-1) ?? null;
  }

  /** A backfill's mean of the last half minute. */
  lately(backfill, name) {
    const column = this.columns.backfills[backfill]?.[name];
    return column ? smoothed(column.slice(-SMOOTHED)).at(-1) : null;
  }

  #forget() {
    const old = this.at.findIndex((at) => at > this.latest - LONGEST_SECONDS);
    if (old <= 0) return;
    this.at.splice(0, old);
    for (const owners of Object.values(this.columns)) {
      for (const columns of Object.values(owners)) for (const column of Object.values(columns)) column.splice(0, old);
    }
  }

  #offer(lanes) {
    if (this.choice.length === lanes.length + 1) return;
    const chosen = this.choice.value;
    this.choice.replaceChildren(element("option", { value: ALL, text: "all lanes" }), ...lanes.map((lane) => element("option", { value: lane, text: lane })));
    this.choice.value = lanes.includes(chosen) ? chosen : ALL;
    this.choice.closest("label").hidden = lanes.length < 2;
  }

  #draw({ anew = false } = {}) {
    for (const chart of this.drawn) {
      const owners = this.columns[chart.kind.of];
      const chosen = chart.kind.of === "lanes" && this.choice.value !== ALL ? [owners[this.choice.value]] : Object.values(owners);
      const lines = chart.kind.lines.map((name) => this.#sum(chosen, name, chart.kind));
      chart.draw([this.at, ...lines], anew);
    }
  }

  #sum(owners, name, { times = 1, isSmooth = false }) {
    const sums = this.at.map((_, i) => owners.reduce((sum, columns) => sum + (columns[name][i] ?? 0), 0) * times);
    return isSmooth ? smoothed(sums) : sums;
  }
}

function merge(ours, theirs, before, more) {
  const empty = () => new Array(before).fill(null);
  for (const [owner, columns] of Object.entries(theirs)) {
    ours[owner] ??= Object.fromEntries(Object.keys(columns).map((name) => [name, empty()]));
    for (const [name, values] of Object.entries(columns)) ours[owner][name].push(...values);
  }
  for (const [owner, columns] of Object.entries(ours)) {
    if (!(owner in theirs)) for (const column of Object.values(columns)) column.push(...new Array(more).fill(null));
  }
}

function smoothed(values) {
  return values.map((_, i) => {
    const window = values.slice(Math.max(0, i - SMOOTHED + 1), i + 1).map((value) => value ?? 0);
    return window.reduce((sum, value) => sum + value, 0) / window.length;
  });
}

class Chart {
  constructor(box, kind) {
    this.kind = kind;
    this.value = element("b");
    this.detail = element("span", { class: "detail" });
    this.canvas = element("div", { class: "canvas", "aria-hidden": "true" });
    this.node = element(
      "figure",
      { class: "chart" },
      element("figcaption", {}, element("span", { class: "chart-title", text: kind.title }), this.value, this.detail),
      this.canvas,
    );
    box.append(this.node);
    this.plot = null;
    this.data = [[]];
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(this.canvas);
  }

  draw(data, anew) {
    this.data = data;
    if (data[0].length < 2) {
      say(this.value, "");
      say(this.detail, "collecting …");
      return;
    }
    if (anew && this.plot) {
      this.plot.destroy();
      this.plot = null;
    }
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.#options(), data, this.canvas);
    this.#caption(this.plot.cursor.idx ?? null);
  }

  /** Tell the values at a sample, the latest one unless the pointer is somewhere else. */
  #caption(pointed) {
    const [at, achieved, ...limits] = this.data;
    const index = pointed ?? at.length - 1;
    say(this.value, `${rate(achieved[index])} ${this.kind.unit}`.trim());
    const names = this.kind.lines.slice(1);
    const told = limits.map((line, i) => [MEANINGS[names[i]], line[index]]).filter(([, value]) => value);
    const isCut = told.length === 2 && told[0][1] < told[1][1];
    const words = (isCut ? told : told.slice(-1)).map(([name, value]) => `${name} ${rate(value)}`);
    if (pointed !== null) words.unshift(timeOfDay(new Date(at[index] * 1000)));
    say(this.detail, words.join(" · "));
  }

  #size() {
    return { width: this.canvas.clientWidth, height: innerWidth > 640 ? HEIGHT : HEIGHT_ON_PHONES };
  }

  #options() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const main = color(this.kind.isWarning ? "--uncertain" : "--active");
    const limits = [
      { stroke: color("--muted"), width: 1, points: { show: false } },
      { stroke: color("--failed"), width: 1, dash: [4, 4], points: { show: false } },
    ];
    const names = this.kind.lines.slice(1);
    const axis = { stroke: color("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    return {
      ...this.#size(),
      padding: [10, 6, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { range: (_, __, most) => [Math.min(this.data[0][0], most - SHORTEST_SECONDS), most] },
        y: { range: (_, __, most) => [0, (most || 1) * 1.08] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 22, space: 70, values: (_, ticks, __, ___, step) => ticks.map((at) => timeOfDay(new Date(at * 1000)).slice(0, step < 60 ? 8 : 5)) },
        { ...axis, grid: { stroke: color("--line"), width: 1 }, size: 40, space: 30, values: (_, ticks) => ticks.map((tick) => (tick >= 1000 ? `${rate(tick / 1000)}k` : rate(tick))) },
      ],
      series: [
        {},
        { stroke: main, width: 1.75, fill: `${main}22`, points: { show: false } },
        ...names.map((name) => limits[MEANINGS[name] === "pace" ? 0 : 1]),
      ],
      hooks: { setCursor: [(plot) => this.#caption(plot.cursor.idx ?? null)] },
    };
  }
}
