// What all pages share: questions to the worker, building elements, and looking again and again.

const ANSWER_MS = 20_000;

/** Ask the worker; throws an Error with a sentence for the reader. */
export async function ask(path, parameters = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  let answer;
  try {
    answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) });
  } catch {
    throw new Error("the worker does not answer");
  }
  if (answer.status === 401) location.reload(); // the token was changed
  const told = await answer.json().catch(() => ({ error: `the worker answered ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/** An element; `class`, `text`, `on…` and attributes in one object, children behind it. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Set a text only where it is another one, so that selections and screen readers are left in peace. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Keep one child of `parent` for each item, in their order; `make(item)` gives { node, show(item) }. */
export function keep(parent, items, keyOf, make, kept) {
  const gone = new Set(kept.keys());
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    gone.delete(key);
    if (!kept.has(key)) kept.set(key, make(item));
    const part = kept.get(key);
    part.show(item);
    const place = before ? before.nextSibling : parent.firstChild;
    if (part.node !== place) parent.insertBefore(part.node, place);
    before = part.node;
  }
  for (const key of gone) {
    kept.get(key).node.remove();
    kept.delete(key);
  }
}

/** Do the task now and that many seconds after its end, as long as somebody can see the page. */
export function every(seconds, task) {
  let timer = 0;
  let isBusy = false;
  async function turn() {
    clearTimeout(timer);
    if (document.hidden || isBusy) return;
    isBusy = true;
    await task();
    isBusy = false;
    timer = setTimeout(turn, seconds * 1000);
  }
  document.addEventListener("visibilitychange", turn);
  turn();
}

/** Show a sentence in the page's box for trouble, or hide it. */
export function trouble(sentence) {
  const box = document.getElementById("trouble");
  box.hidden = !sentence;
  say(box, sentence ?? "");
}

/** The address of a video's page. */
export function pageOf(video) {
  return `/video?id=${video.id}`;
}

/** A parameter of this page's address. */
export function parameter(name) {
  return new URLSearchParams(location.search).get(name) ?? "";
}
