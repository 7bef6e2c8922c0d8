// A row for each label, a mark for each detection: the surer, the higher. Each row is a slider that moves from one
// detection to the next, so that keyboards and screen readers know what to do with it.

import { clock, confidence } from "./figures.js";
import { nearest, profile, shownOf } from "./labels.js";
import { element, say } from "./page.js";

const ROW_HEIGHT = 20;
const MARK_WIDTH = 2;
const SHORTEST_VIEW_MS = 2000;
const NEAR_PX = 8;
const TICKS = [100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000];

export class Timeline {
  /** `seek(ms)` plays from a time, `point(text)` tells what is pointed at. */
  constructor(box, rows, durationMs, { lowest, seek, point }) {
    this.durationMs = durationMs;
    this.lowest = lowest;
    this.seek = seek;
    this.point = point;
    this.view = { from: 0, until: durationMs };
    this.playedMs = 0;
    this.threshold = lowest;
    this.axis = element("canvas", { "aria-hidden": "true" });
    this.head = element("div", { class: "playhead", "aria-hidden": "true" });
    this.rows = rows.map((row) => new Row(this, row));
    const tracks = element("div", { class: "rows" }, element("div", { class: "row axis", "aria-hidden": "true" }, element("span"), this.axis));
    let kind = "label";
    for (const row of this.rows) {
      if (row.data.kind !== kind) tracks.append(element("h3", { class: "kind", text: "Content types" }));
      kind = row.data.kind;
      tracks.append(row.node);
    }
    box.replaceChildren(tracks, this.head);
    this.box = box;
    new ResizeObserver(() => this.draw()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show only what is at least so sure, and of rows that `fits` likes; gives (detections, rows) shown. */
  filter(threshold, fits) {
    this.threshold = threshold;
    for (const row of this.rows) row.filter(threshold, fits(row.data));
    const open = this.open();
    if (!open.some((row) => row.node.tabIndex === 0)) this.#hold(open[0]);
    this.draw();
    return { detections: open.reduce((sum, row) => sum + row.shown.length, 0), rows: open.length };
  }

  /** Rows that are not hidden. */
  open() {
    return this.rows.filter((row) => !row.node.hidden);
  }

  played(ms) {
    this.playedMs = ms;
    this.#placeHead();
  }

  /** Look closer (factor under 1) or from farther away, around the selected detection or the moment that is played. */
  zoom(factor) {
    const selected = this.rows.find((row) => row.node.tabIndex === 0 && row.at >= 0);
    const middle = selected ? selected.time() : this.playedMs;
    const span = Math.min(Math.max((this.view.until - this.view.from) * factor, Math.min(SHORTEST_VIEW_MS, this.durationMs)), this.durationMs);
    this.#look(middle - span / 2, span);
  }

  /** Have a moment in view. */
  reveal(ms) {
    const span = this.view.until - this.view.from;
    if (ms < this.view.from || ms > this.view.until) this.#look(ms - span / 2, span);
  }

  /** Move the selection to another row. */
  step(row, by) {
    const open = this.open();
    const next = open[open.indexOf(row) + by];
    if (!next) return;
    this.#hold(next);
    next.select(nearest(next.data, next.shown, row.at >= 0 ? row.time() : this.playedMs));
    next.node.focus();
  }

  /** Let the keyboard come back to this row. */
  hold(row) {
    this.#hold(row);
  }

  draw() {
    this.#drawAxis();
    for (const row of this.open()) row.draw();
    this.#placeHead();
  }

  #hold(held) {
    for (const row of this.rows) row.node.tabIndex = row === held ? 0 : -1;
  }

  #look(from, span) {
    const begin = Math.min(Math.max(from, 0), this.durationMs - span);
    this.view = { from: begin, until: begin + span };
    this.draw();
  }

  #placeHead() {
    const share = (this.playedMs - this.view.from) / (this.view.until - this.view.from);
    const track = this.axis.getBoundingClientRect();
    const own = this.box.getBoundingClientRect();
    this.head.hidden = share < 0 || share > 1;
    this.head.style.insetInlineStart = `${track.left - own.left + share * track.width}px`;
  }

  #drawAxis() {
    const { context, width } = prepared(this.axis, ROW_HEIGHT);
    const span = this.view.until - this.view.from;
    const step = TICKS.find((ms) => (ms / span) * width >= 76) ?? TICKS.at(-1);
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = color("--muted");
    for (let at = Math.ceil(this.view.from / step) * step; at <= this.view.until; at += step) {
      const x = ((at - this.view.from) / span) * width;
      const text = step < 1000 ? clock(at) : clock(at).slice(0, -4);
      context.textAlign = x < 16 ? "left" : x > width - 16 ? "right" : "center";
      context.fillText(text, x, 12);
      context.fillRect(Math.min(x, width - 1), 16, 1, 4);
    }
  }
}

class Row {
  constructor(timeline, data) {
    this.timeline = timeline;
    this.data = data;
    this.shown = [];
    this.at = -1; // the place in `shown` of the selected detection
    this.canvas = element("canvas");
    this.number = element("span", { class: "detail" });
    this.node = element(
      "div",
      {
        class: `row level-${Math.min(data.level, 3)} ${data.kind === "label" ? "" : "type"}`,
        role: "slider",
        tabindex: -1,
        "aria-label": data.parent ? `${data.name}, in ${data.parent}` : data.name,
        "aria-describedby": "keys",
        "aria-valuemin": 0,
        "aria-valuemax": timeline.durationMs,
        onkeydown: (event) => this.#key(event),
        onfocus: () => this.#focused(),
        onclick: (event) => this.#clicked(event),
        onpointermove: (event) => this.#pointed(event),
        onpointerleave: () => timeline.point(""),
      },
      element("span", { class: "row-name", title: data.name }, element("span", { class: "row-text", text: data.name }), this.number),
      this.canvas,
    );
  }

  filter(threshold, isWanted) {
    const selected = this.at >= 0 ? this.shown[this.at] : -1;
    this.shown = isWanted ? shownOf(this.data, threshold) : [];
    this.node.hidden = !this.shown.length;
    say(this.number, String(this.shown.length));
    this.at = this.shown.indexOf(selected);
    this.#tell();
  }

  /** When the selected detection begins. */
  time() {
    return this.data.from[this.shown[this.at]];
  }

  select(place) {
    this.at = Math.min(Math.max(place, 0), this.shown.length - 1);
    this.#tell();
    if (this.at < 0) return;
    this.timeline.reveal(this.time());
    this.draw();
    this.timeline.point(this.#words());
  }

  draw() {
    const { context, width } = prepared(this.canvas, ROW_HEIGHT);
    const { view, lowest } = this.timeline;
    const heights = profile(this.data, this.shown, view.from, view.until, Math.ceil(width));
    context.fillStyle = color(this.data.kind === "label" ? `--level-${Math.min(this.data.level, 3)}` : "--skipped");
    const depth = Math.max(100 - lowest, 1);
    const markWidth = this.data.until ? 1 : MARK_WIDTH;
    for (let x = 0; x < heights.length; x += 1) {
      if (!heights[x]) continue;
      const height = Math.max(0.2 + (0.8 * (heights[x] - lowest)) / depth, 0.15) * (ROW_HEIGHT - 2);
      context.fillRect(x, ROW_HEIGHT - 1 - height, markWidth, height);
    }
    this.#drawSelected(context, width);
  }

  #drawSelected(context, width) {
    if (this.at < 0 || document.activeElement !== this.node) return;
    const { view } = this.timeline;
    const x = ((this.time() - view.from) / (view.until - view.from)) * width;
    context.strokeStyle = color("--text");
    context.lineWidth = 1.5;
    context.strokeRect(x - 3, 1, 8, ROW_HEIGHT - 2);
  }

  #tell() {
    this.node.setAttribute("aria-valuenow", this.at < 0 ? 0 : this.time());
    this.node.setAttribute("aria-valuetext", this.at < 0 ? `${this.shown.length} detections` : this.#words());
  }

  #words() {
    const i = this.shown[this.at];
    const until = this.data.until?.[i];
    const when = until === null || until === undefined ? clock(this.data.from[i]) : `${clock(this.data.from[i])} to ${clock(until)}`;
    return `${when}, ${confidence(this.data.confidence[i])}, ${this.at + 1} of ${this.shown.length}`;
  }

  #focused() {
    this.timeline.hold(this);
    if (this.at < 0) this.select(nearest(this.data, this.shown, this.timeline.playedMs));
    this.draw();
    this.node.addEventListener("blur", () => this.draw(), { once: true });
  }

  #key(event) {
    const moves = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, PageDown: this.at + 10, PageUp: this.at - 10, Home: 0, End: this.shown.length - 1 };
    if (event.key in moves) this.select(moves[event.key]);
    else if (event.key === "ArrowDown") this.timeline.step(this, 1);
    else if (event.key === "ArrowUp") this.timeline.step(this, -1);
    else if (event.key === "Enter" || event.key === " ") this.timeline.seek(this.time());
    else return;
    event.preventDefault();
  }

  #clicked(event) {
    const found = this.#under(event);
    if (!found) return;
    this.select(found.place >= 0 ? found.place : this.at);
    this.timeline.seek(found.place >= 0 ? this.time() : found.ms);
  }

  #pointed(event) {
    const found = this.#under(event);
    if (!found) return;
    const before = this.at;
    if (found.place >= 0) {
      this.at = found.place;
      this.timeline.point(`${this.data.name} · ${this.#words()}`);
      this.at = before;
    } else {
      this.timeline.point(clock(Math.round(found.ms)));
    }
  }

  /** The moment under the pointer, and the place of a detection near it, -1 for none; null beside the track. */
  #under(event) {
    const track = this.canvas.getBoundingClientRect();
    const x = event.clientX - track.left;
    if (x < 0 || x > track.width) return null;
    const { view } = this.timeline;
    const perPx = (view.until - view.from) / track.width;
    const ms = view.from + x * perPx;
    const place = nearest(this.data, this.shown, ms);
    const isNear = place >= 0 && this.#distance(place, ms) <= NEAR_PX * perPx;
    return { ms, place: isNear ? place : -1 };
  }

  #distance(place, ms) {
    const i = this.shown[place];
    const until = this.data.until?.[i] ?? this.data.from[i];
    return Math.max(this.data.from[i] - ms, ms - until, 0);
  }
}

/** A canvas made as wide as it stands and as sharp as the screen is. */
function prepared(canvas, height) {
  const width = canvas.clientWidth;
  const sharpness = devicePixelRatio;
  canvas.width = Math.max(Math.round(width * sharpness), 1);
  canvas.height = Math.round(height * sharpness);
  const context = canvas.getContext("2d");
  context.scale(sharpness, sharpness);
  return { context, width };
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
