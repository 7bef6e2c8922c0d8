// Which videos show a label, the surest first; and any video by its name.

import { clock, confidence, count, counted, moment } from "./figures.js";
import { ask, element, pageOf, say, trouble } from "./page.js";

const ENOUGH = 50;
const COLUMNS = ["Video", "Label", "Confidence", "Detections", "From – to", "Settled", "Backfill"];

const form = document.getElementById("search");
const opener = document.getElementById("open");
const results = document.getElementById("results");
const rows = results.querySelector("tbody");
const more = document.getElementById("more");
let asked = {};
let next = null;
let turn = 0; // of searches; an answer to an earlier one is not shown

results.querySelector("thead tr").append(...COLUMNS.map((text) => element("th", { scope: "col", role: "columnheader", text, class: ["Confidence", "Detections"].includes(text) ? "number" : null })));

function cell(label, content, kind) {
  return element("td", { role: "cell", "data-label": label, class: kind }, content);
}

function found(video) {
  const address = `${pageOf(video)}${video.first_ms === null ? "" : `&at=${video.first_ms}`}`;
  const span = video.first_ms === video.last_ms ? clock(video.first_ms) : `${clock(video.first_ms)} – ${clock(video.last_ms)}`;
  return element(
    "tr",
    { role: "row" },
    cell("Video", element("a", { class: "key", href: address, text: `${video.bucket}/${video.key}` })),
    cell("Label", video.parent_name ? `${video.name}, in ${video.parent_name}` : video.name),
    cell("Confidence", confidence(video.highest_confidence), "number"),
    cell("Detections", count(video.detections), "number"),
    cell("From – to", span),
    cell("Settled", moment(video.settled_at)),
    cell("Backfill", video.backfill),
  );
}

function place(video) {
  return element(
    "tr",
    { role: "row" },
    cell("Video", element("a", { class: "key", href: pageOf(video), text: `${video.bucket}/${video.key}` })),
    ...COLUMNS.slice(1, 5).map((label) => cell(label, label === "Label" ? video.state : "–")),
    cell("Settled", moment(video.settled_at)),
    cell("Backfill", video.backfill),
  );
}

/** Search until a page is full, or there is no more: a search that is sifted may look at many for a few. */
async function goOn() {
  const mine = turn;
  let looked = 0;
  let shown = 0;
  more.hidden = true;
  try {
    do {
      const told = await ask("/api/search", { ...asked, after: next });
      if (mine !== turn) return;
      rows.append(...told.videos.map(found));
      shown += told.videos.length;
      looked += told.looked_at;
      next = told.next;
      const total = rows.childElementCount;
      results.hidden = !total;
      say(document.getElementById("count"), `${counted(total, "video")}${next ? ", the surest first" : total ? ", that is all" : ""}${looked > shown ? ` (looked at ${count(looked)})` : ""}`);
    } while (next && shown < ENOUGH);
    more.hidden = !next;
    trouble(null);
  } catch (error) {
    if (mine === turn) trouble(`${error.message}.`);
  }
}

function begin() {
  turn += 1;
  next = null;
  rows.replaceChildren();
  results.hidden = true;
  say(document.getElementById("count"), "Searching …");
}

function moments(values) {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value && ["from", "before"].includes(name) ? new Date(value).toISOString() : value]));
}

function search() {
  const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(null, "", `/search?${new URLSearchParams(values)}`);
  asked = moments(values);
  begin();
  goOn();
}

async function openNamed(event) {
  event.preventDefault();
  const name = opener.object.value.trim().replace(/^s3:\/\//, "");
  const slash = name.indexOf("/");
  begin();
  try {
    if (slash < 1 || slash === name.length - 1) throw new Error("name a video as bucket/key");
    const [bucket, key] = [name.slice(0, slash), name.slice(slash + 1)];
    const { videos } = await ask("/api/object", { bucket, key });
    if (videos.length === 1) location.assign(pageOf(videos[0]));
    rows.append(...videos.map((video) => place({ ...video, bucket, key })));
    results.hidden = !videos.length;
    say(document.getElementById("count"), videos.length ? `registered in ${counted(videos.length, "backfill")}` : "No backfill has registered this video.");
    trouble(null);
  } catch (error) {
    say(document.getElementById("count"), "");
    trouble(`${error.message}.`);
  }
}

async function offer() {
  try {
    const [{ labels }, { backfills }] = await Promise.all([ask("/api/labels"), ask("/api/status")]);
    const names = [...new Set(labels.map((label) => label.name))];
    document.getElementById("labels").append(...names.map((value) => element("option", { value })));
    form.backfill.append(...backfills.map(({ name }) => element("option", { value: name, text: name })));
  } catch (error) {
    trouble(`${error.message}.`);
  }
}

function restore() {
  const given = new URLSearchParams(location.search);
  for (const [name, value] of given) if (form.elements.namedItem(name)) form.elements.namedItem(name).value = value;
  if (given.get("label")) search();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
opener.addEventListener("submit", openNamed);
more.addEventListener("click", goOn);
await offer();
restore();
