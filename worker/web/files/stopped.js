// The videos of a backfill that ended without labels for one reason.

import { count, moment } from "./figures.js";
import { ask, element, pageOf, parameter, say, trouble } from "./page.js";

const backfill = parameter("backfill");
const reason = parameter("reason");
const rows = document.getElementById("videos");
const more = document.getElementById("more");
const PAGE = 50;
let last = 0;
let shown = 0;

function row(video) {
  const name = `${video.bucket}/${video.key}`;
  return element(
    "tr",
    { role: "row" },
    element("td", { role: "cell", "data-label": "Video" }, element("a", { href: pageOf(video), class: "key", text: name })),
    element("td", { role: "cell", "data-label": "State" }, element("span", { class: `state ${video.state}`, text: video.state })),
    element("td", { role: "cell", class: "number", "data-label": "Tries", text: count(video.generations) }),
    element("td", { role: "cell", "data-label": "Ended", text: moment(video.settled_at) }),
  );
}

async function show() {
  more.disabled = true;
  try {
    const { videos } = await ask("/api/stopped", { backfill, reason, after: last });
    rows.append(...videos.map(row));
    shown += videos.length;
    last = videos.at(-1)?.id ?? last;
    more.hidden = videos.length < PAGE;
    say(document.getElementById("count"), shown ? `${count(shown)} shown${more.hidden ? ", that is all" : ""}` : "There are none any more.");
    trouble(null);
  } catch (error) {
    trouble(error.message);
  }
  more.disabled = false;
}

say(document.getElementById("title"), `Without labels in ${backfill}`);
say(document.getElementById("reason"), reason);
document.title = `${reason} · modworker`;
more.addEventListener("click", show);
show();
