// The page of one video: what became of it, its labels over time, and the video itself beside them.

import { clock, confidence, count, counted, duration, moment, rate, size, usd } from "./figures.js";
import { rowsOf } from "./labels.js";
import { ask, element, pageOf, parameter, say, trouble } from "./page.js";
import { Timeline } from "./timeline.js";

const TABLE_PAGE = 100;
const RELOAD_MS = 30_000;

const find = (id) => document.getElementById(id);
const id = parameter("id");

async function open() {
  try {
    show(await ask("/api/video", { id }));
  } catch (error) {
    say(find("title"), "No video");
    trouble(`${error.message}.`);
  }
}

function show(told) {
  const { video } = told;
  say(find("title"), `${video.bucket}/${video.key}`);
  document.title = `${video.key} · modworker`;
  const crumb = element("a", { href: video.reason ? `/stopped?${new URLSearchParams({ backfill: video.backfill, reason: video.reason })}` : "/", text: video.backfill });
  find("crumbs").append(" / ", crumb);
  find("outcome").append(element("span", { class: `state ${video.state}`, text: video.state }), video.reason ? `: ${video.reason}` : "");
  find("facts").append(...factsOf(video).flatMap(([name, value]) => [element("dt", { text: name }), element("dd", { text: value })]));
  find("about").hidden = false;
  const player = showPlayer(told);
  if (video.state === "done") showLabels(told, player);
  showOthers(told.others);
}

function factsOf(video) {
  const pictures = video.metadata ?? {};
  const format = [pictures.Codec, pictures.FrameWidth && `${pictures.FrameWidth} × ${pictures.FrameHeight}`, pictures.FrameRate && `${rate(pictures.FrameRate)} frames a second`];
  const facts = [
    ["Duration", video.duration_ms === null ? null : clock(video.duration_ms)],
    ["Size", video.size_bytes === null ? null : size(video.size_bytes)],
    ["Pictures", format.filter(Boolean).join(", ")],
    ["Labels", video.state === "done" ? `${count(video.labels)}, of ${rate(video.min_confidence)}% confidence or more` : null],
    ["Cost", video.cost_usd ? usd(video.cost_usd) : "nothing"],
    ["Registered", moment(video.registered_at)],
    ["Started", video.started_at && moment(video.started_at)],
    ["Settled", video.settled_at && tookOf(video)],
    ["Tries", video.generations > 1 ? count(video.generations) : null],
    ["Version", video.version_id],
    ["Model", video.model_version],
    ["Job", video.aws_job_id],
    ["Lane", `${video.lane}, ${video.region}`],
  ];
  return facts.filter(([, value]) => value);
}

function tookOf(video) {
  if (!video.started_at) return moment(video.settled_at);
  const seconds = (new Date(video.settled_at) - new Date(video.started_at)) / 1000;
  return `${moment(video.settled_at)}, after ${duration(seconds)}`;
}

/** The video, or why it cannot be played; gives `seek(ms)` and `follow(told)`. */
function showPlayer({ video, unplayable }) {
  const box = find("player");
  if (unplayable) {
    box.replaceChildren(element("p", { class: "quiet", text: `The video cannot be played here: ${unplayable}.` }));
    return { seek() {}, follow() {} };
  }
  const source = `/play?${new URLSearchParams({ id: video.id })}`;
  const screen = element("video", { controls: true, preload: video.state === "done" ? "metadata" : "none", playsinline: true, src: source, "aria-label": `Video ${video.key}` });
  const words = element("p", { class: "quiet", hidden: true });
  box.replaceChildren(screen, words);
  let loadedAt = performance.now();
  screen.addEventListener("error", () => {
    if (screen.currentTime > 0 && performance.now() - loadedAt > RELOAD_MS) {
      loadedAt = performance.now(); // its address is good for some minutes only
      const { currentTime, paused } = screen;
      screen.load();
      screen.currentTime = currentTime;
      if (!paused) screen.play();
      return;
    }
    screen.hidden = true;
    words.hidden = false;
    say(words, "The video cannot be played here: it cannot be reached, or this browser does not know its format.");
  });
  return {
    seek(ms) {
      screen.currentTime = ms / 1000;
    },
    follow(played) {
      const tell = () => played(screen.currentTime * 1000);
      for (const kind of ["timeupdate", "seeking", "seeked", "loadedmetadata"]) screen.addEventListener(kind, tell);
    },
  };
}

function showLabels({ video, labels, content_types: types }, player) {
  if (!labels.length) {
    say(find("none"), `No label was found at ${rate(video.min_confidence)}% or more.`);
    return;
  }
  find("found").hidden = false;
  const rows = rowsOf(labels, types);
  const last = rows.reduce((most, row) => Math.max(most, row.from.at(-1), row.until?.at(-1) ?? 0), 1);
  const timeline = new Timeline(find("timeline"), rows, Math.max(video.duration_ms ?? 0, last), {
    lowest: Math.min(video.min_confidence, 99),
    seek: (ms) => player.seek(ms),
    point: (text) => say(find("pointed"), text),
  });
  player.follow((ms) => timeline.played(ms));
  const table = new Table(player);
  const all = labels.reduce((sum, label) => sum + label.from_ms.length, 0);
  const threshold = find("threshold");
  threshold.min = Math.floor(video.min_confidence);
  threshold.value = threshold.min;
  offerLevels(rows);

  function filter() {
    const at = Number(threshold.value);
    const text = `${at}%`;
    say(find("threshold-shown"), text);
    threshold.setAttribute("aria-valuetext", text);
    const levels = new Set([...find("levels").querySelectorAll("input:checked")].map((box) => Number(box.value)));
    const wanted = find("name").value.trim().toLowerCase();
    const fits = (row) => (row.kind !== "label" || levels.has(row.level)) && `${row.name}\n${row.parent}`.toLowerCase().includes(wanted);
    timeline.filter(at, fits);
    const shown = timeline.open().filter((row) => row.data.kind === "label");
    const detections = shown.reduce((sum, row) => sum + row.shown.length, 0);
    say(find("shown"), `${count(detections)} of ${counted(all, "detection")}, ${counted(shown.length, "label")}`);
    table.show(shown);
  }

  find("filters").addEventListener("input", filter);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("closer").addEventListener("click", () => timeline.zoom(0.5));
  find("farther").addEventListener("click", () => timeline.zoom(2));
  find("whole").addEventListener("click", () => timeline.zoom(Infinity));
  filter();
  const at = Number(parameter("at"));
  if (parameter("at") && Number.isFinite(at)) {
    player.seek(at);
    timeline.played(at);
  }
}

function offerLevels(rows) {
  const levels = [...new Set(rows.filter((row) => row.kind === "label").map((row) => row.level))].sort();
  find("levels").append(...levels.map((level) => element("label", {}, element("input", { type: "checkbox", value: level, checked: true }), String(level))));
  find("levels").hidden = levels.length < 2;
}

/** The same detections as a table, which is made only where somebody opens it. */
class Table {
  constructor(player) {
    this.player = player;
    this.details = find("listed");
    this.body = find("detections");
    this.more = find("more");
    this.rows = [];
    this.details.addEventListener("toggle", () => this.#fill());
    this.more.addEventListener("click", () => this.#append());
  }

  show(rows) {
    this.rows = rows;
    this.#fill();
  }

  #fill() {
    if (!this.details.open) return;
    this.listed = this.rows.flatMap((row) => row.shown.map((i) => ({ row: row.data, i }))).sort((a, b) => a.row.from[a.i] - b.row.from[b.i]);
    this.body.replaceChildren();
    this.#append();
  }

  #append() {
    const next = this.listed.slice(this.body.childElementCount, this.body.childElementCount + TABLE_PAGE);
    this.body.append(...next.map((one) => this.#line(one)));
    this.more.hidden = this.body.childElementCount === this.listed.length;
  }

  #line({ row, i }) {
    const until = row.until?.[i];
    const when = until === null || until === undefined ? clock(row.from[i]) : `${clock(row.from[i])} – ${clock(until)}`;
    const cell = (label, text, kind) => element("td", { role: "cell", class: kind, "data-label": label, text });
    const time = element("td", { role: "cell" }, element("button", { type: "button", class: "time", text: when, onclick: () => this.player.seek(row.from[i]) }));
    return element(
      "tr",
      { role: "row" },
      time,
      cell("Label", row.name),
      cell("Parent", row.parent || "–"),
      cell("Level", String(row.level), "number"),
      cell("Confidence", confidence(row.confidence[i]), "number"),
    );
  }
}

function showOthers(others) {
  const section = find("others");
  section.hidden = !others.length;
  section.querySelector("ul").append(
    ...others.map((video) =>
      element(
        "li",
        {},
        element("span", { class: `state ${video.state}`, text: video.state }),
        element("a", { href: pageOf(video), text: `in ${video.backfill}` }),
        element("span", { class: "detail", text: video.version_id ? `version ${video.version_id}` : "" }),
      ),
    ),
  );
}

open();
