// The status page: backfills, throughput and lanes, as the worker's answers change.

import { Charts } from "./charts.js";
import { count, counted, duration, percent, rate, timeOfDay, usd } from "./figures.js";
import { ask, element, every, keep, say, trouble } from "./page.js";

const STATUS_SECONDS = 2;
const HISTORY_SECONDS = 5;
const MOST_FINISHED_CARDS = 3;
const MOST_REASONS = 8;
const STATES = ["done", "failed", "skipped", "uncertain", "expired", "active", "pending"];
const FINAL = ["done", "failed", "skipped", "uncertain", "expired"];

const freshness = document.getElementById("freshness");
const charts = new Charts(document.getElementById("charts"), document.getElementById("lane-choice"));
const cards = new Map();
const earlier = new Map();
let lanes = null;
let answeredAt = null;

const total = (videos, states = STATES) => states.reduce((sum, state) => sum + videos[state], 0);
const isOver = (backfill) => !backfill.videos.active && !backfill.videos.pending;

function mark(backfill) {
  if (backfill.purging) return ["being purged", "warn"];
  if (backfill.cancelled) return ["cancelled", "calm"];
  if (backfill.paused) return [`paused: ${backfill.paused}`, "warn"];
  if (backfill.budget_reached) return ["at its budget", "warn"];
  return isOver(backfill) ? ["finished", "calm"] : ["running", "good"];
}

function fact(name) {
  const value = element("dd");
  const detail = element("dd", { class: "detail" });
  return { node: element("div", { class: "fact" }, element("dt", { text: name }), value, detail), value, detail };
}

function meter(label) {
  const fill = element("span", { class: "fill" });
  const node = element("span", { class: "meter", role: "meter", "aria-label": label, "aria-valuemin": 0 }, fill);
  return {
    node,
    show(now, most, text) {
      const share = most ? Math.min(now / most, 1) : 0;
      fill.style.inlineSize = `${share * 100}%`;
      node.setAttribute("aria-valuemax", most || 1);
      node.setAttribute("aria-valuenow", Math.min(now, most || 1));
      node.setAttribute("aria-valuetext", text);
      node.classList.toggle("full", most > 0 && now >= most);
    },
  };
}

function card(backfill) {
  const title = element("h3", { text: backfill.name });
  const badge = element("span", { class: "badge" });
  const done = element("p", { class: "done" });
  const parts = Object.fromEntries(STATES.map((state) => [state, element("span", { class: `part ${state}` })]));
  const bar = element("div", { class: "bar", role: "progressbar", "aria-label": `Videos of ${backfill.name} that are final`, "aria-valuemin": 0 }, ...Object.values(parts));
  const legend = element("ul", { class: "legend" });
  const counts = Object.fromEntries(
    STATES.map((state) => {
      const number = element("b");
      return [state, { node: element("li", { class: state }, number, ` ${state}`), number }];
    }),
  );
  legend.append(...Object.values(counts).map(({ node }) => node));
  const speed = fact("Finished");
  const labels = fact("Labels");
  const money = fact("Spent");
  const left = fact("Time left");
  const budget = meter(`Spent and reserved of the budget of ${backfill.name}`);
  money.node.append(budget.node);
  const facts = element("dl", { class: "facts" }, speed.node, labels.node, money.node, left.node);
  const reasons = element("div", { class: "reasons" });
  let shownReasons = "";

  function showReasons(failures) {
    const told = JSON.stringify(failures);
    if (told === shownReasons) return;
    shownReasons = told;
    const sorted = Object.entries(failures).sort((a, b) => b[1] - a[1]);
    const rows = sorted.slice(0, MOST_REASONS).map(([reason, videos]) => {
      const address = `/stopped?${new URLSearchParams({ backfill: backfill.name, reason })}`;
      return element("li", {}, element("b", { text: count(videos) }), element("a", { href: address, text: reason, title: reason }));
    });
    const others = sorted.slice(MOST_REASONS);
    if (others.length) {
      const videos = others.reduce((sum, [, number]) => sum + number, 0);
      rows.push(element("li", { class: "quiet" }, element("b", { text: count(videos) }), `for ${counted(others.length, "other reason")}`));
    }
    reasons.replaceChildren(...(rows.length ? [element("h4", { text: "Without labels" }), element("ul", {}, ...rows)] : []));
  }

  return {
    node: element("article", { class: "card backfill" }, element("div", { class: "card-head" }, title, badge, done), bar, legend, facts, reasons),
    show(now) {
      const all = total(now.videos);
      const final = total(now.videos, FINAL);
      const [word, kind] = mark(now);
      say(badge, word);
      badge.className = `badge ${kind}`;
      const line = `${count(final)} of ${count(all)} final`;
      say(done, `${line} · ${percent(final, all)}`);
      for (const state of STATES) {
        parts[state].style.flexGrow = now.videos[state];
        parts[state].hidden = !now.videos[state];
        say(counts[state].number, count(now.videos[state]));
        counts[state].node.hidden = !now.videos[state];
      }
      bar.setAttribute("aria-valuemax", all);
      bar.setAttribute("aria-valuenow", final);
      bar.setAttribute("aria-valuetext", `${line}, ${percent(final, all)}`);
      const perSecond = charts.lately(now.name, "videos");
      for (const { node } of [speed, left]) node.hidden = isOver(now);
      say(speed.value, perSecond === null ? "–" : `${rate(perSecond * 60)} a minute`);
      say(speed.detail, `priority ${now.priority}`);
      say(labels.value, count(now.labels));
      const labelsLately = charts.lately(now.name, "labels");
      say(labels.detail, isOver(now) || labelsLately === null ? "" : `${rate(labelsLately)} a second`);
      say(money.value, usd(now.spent_usd));
      const held = now.spent_usd + now.reserved_usd;
      const limit = now.budget_usd === null ? "no budget" : `of ${usd(now.budget_usd)}`;
      say(money.detail, now.reserved_usd ? `${limit}, ${usd(now.reserved_usd)} reserved` : limit);
      budget.node.hidden = now.budget_usd === null;
      if (now.budget_usd !== null) budget.show(held, now.budget_usd, `${usd(held)} of ${usd(now.budget_usd)}`);
      const seconds = now.eta_seconds ?? (perSecond ? (all - final) / perSecond : null);
      say(left.value, duration(seconds));
      say(left.detail, seconds === null ? "" : `until ${arrival(seconds)}`);
      showReasons(now.failures);
    },
  };
}

function arrival(seconds) {
  const then = new Date(Date.now() + seconds * 1000);
  const day = then.toDateString() === new Date().toDateString() ? "" : `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} `;
  return `${day}${timeOfDay(then).slice(0, 5)}`;
}

function line(backfill) {
  const cells = Array.from({ length: 4 }, () => element("td", { class: "number" }));
  return {
    node: element("tr", {}, element("th", { scope: "row", text: backfill.name }), ...cells),
    show(now) {
      const values = [count(total(now.videos)), percent(now.videos.done, total(now.videos)), count(now.labels), usd(now.spent_usd)];
      cells.forEach((cell, i) => say(cell, values[i]));
    },
  };
}

function showBackfills(backfills) {
  const finished = backfills.filter(isOver);
  const late = new Set(finished.slice(MOST_FINISHED_CARDS));
  const box = document.getElementById("backfills");
  const asCards = backfills.filter((backfill) => !late.has(backfill));
  if (!asCards.length) {
    cards.clear();
    box.replaceChildren(element("p", { class: "quiet", text: "No backfill is registered." }));
  } else {
    if (!cards.size) box.replaceChildren();
    keep(box, asCards, (one) => one.name, card, cards);
  }
  const details = document.getElementById("earlier");
  details.hidden = !late.size;
  say(details.querySelector("summary"), `${counted(late.size, "earlier backfill")}`);
  keep(details.querySelector("tbody"), [...late], (one) => one.name, line, earlier);
}

const HEADS = ["Lane", "Jobs", "Starts a second", "Pages a second", "Throttled", "Owner"];

function laneRow(lane) {
  const cell = (label, ...children) => element("td", { role: "cell", "data-label": label }, ...children);
  const figures = ["Jobs", "Starts a second", "Pages a second"].map((label) => {
    const text = element("span", { class: "figure" });
    const detail = element("span", { class: "detail" });
    const bar = meter(`${label} on ${lane.name}`);
    return { node: cell(label, element("span", { class: "gauge" }, text, bar.node, detail)), text, detail, bar };
  });
  const [jobs, starts, gets] = figures;
  const throttled = cell("Throttled");
  const owner = element("span");
  const epoch = element("span", { class: "detail" });
  const place = element("span", { class: "detail" });
  const row = element(
    "tr",
    { role: "row" },
    element("th", { scope: "row", role: "rowheader" }, element("span", { text: lane.name }), place),
    ...figures.map(({ node }) => node),
    throttled,
    cell("Owner", owner, epoch),
  );
  const words = element("td", { colspan: HEADS.length, role: "cell" });
  const complaint = element("tr", { role: "row", class: "complaint", hidden: true }, words);
  const node = element("tbody", { role: "rowgroup" }, row, complaint);

  function gauge({ text, detail, bar }, now, most, quota) {
    say(text, most ? `${rate(now)} of ${rate(most)}` : rate(now));
    say(detail, quota && most < quota ? `quota ${rate(quota)}` : "");
    bar.show(now ?? 0, quota || most || 0, `${rate(now)} of ${rate(most)}`);
  }

  return {
    node,
    show(now) {
      say(place, [now.region, now.account_id].filter(Boolean).join(" · "));
      gauge(jobs, now.owner ? (now.slots_used ?? now.running) : now.running, now.concurrent_jobs ?? 0, now.concurrent_jobs_quota);
      gauge(starts, charts.now(now.name, "starts"), now.start_per_second ?? 0, now.start_per_second_quota);
      gauge(gets, charts.now(now.name, "gets"), now.get_per_second ?? 0, now.get_per_second_quota);
      say(throttled, count(now.throttled ?? 0));
      throttled.classList.toggle("warn", (charts.now(now.name, "throttled") ?? 0) > 0);
      say(owner, now.owner ?? "nobody");
      owner.classList.toggle("warn", !now.owner);
      say(epoch, `epoch ${now.epoch}`);
      const complaints = [now.denied && `denied: ${now.denied}`, now.halted && `halted: ${now.halted}`].filter(Boolean);
      complaint.hidden = !complaints.length;
      say(words, complaints.join(" · "));
    },
  };
}

function showLanes(entries) {
  const box = document.getElementById("lanes");
  if (!entries.length) {
    lanes = null;
    box.replaceChildren(element("p", { class: "quiet", text: "No lane is registered." }));
    return;
  }
  if (!lanes) {
    const head = element("tr", { role: "row" }, ...HEADS.map((text) => element("th", { scope: "col", role: "columnheader", text })));
    const table = element("table", { class: "cards lanes", role: "table", "aria-label": "Lanes" });
    const thead = element("thead", { role: "rowgroup" }, head);
    table.append(thead);
    box.replaceChildren(table);
    lanes = { table, kept: new Map(), thead };
  }
  keep(lanes.table, entries, (lane) => lane.name, laneRow, lanes.kept);
  lanes.table.prepend(lanes.thead);
}

function showFreshness(told) {
  say(freshness, `live · ${told.worker} · ${timeOfDay(answeredAt)}`);
  freshness.classList.add("live");
}

/** Reasons and times left are counted more seldom where there is much to count. */
function showAges(told) {
  const seconds = told.at - told.counted_at;
  say(document.getElementById("counted"), seconds > 15 ? `reasons and time left as of ${duration(seconds)} ago` : "");
}

async function look() {
  try {
    const told = await ask("/api/status");
    answeredAt = new Date(told.at * 1000);
    showBackfills(told.backfills);
    showLanes(told.lanes);
    showFreshness(told);
    showAges(told);
    trouble(null);
  } catch (error) {
    freshness.classList.remove("live");
    const since = answeredAt ? ` What you see is of ${timeOfDay(answeredAt)}.` : "";
    trouble(`No news: ${error.message}.${since}`);
  }
}

async function lookBack() {
  try {
    charts.add(await ask("/api/history", { after: charts.latest }));
  } catch {
    // The status asks more often, and says what is wrong.
  }
}

every(HISTORY_SECONDS, lookBack);
every(STATUS_SECONDS, look);
