// Labels in the order of their tree, and which of their detections are shown. No element of the page is touched here.

/** Rows as the timeline needs them: parents before their children, each with its detections in order of time. */
export function rowsOf(labels, contentTypes) {
  const rows = labels.map((label) => ({
    name: label.name,
    parent: label.parent_name,
    level: label.taxonomy_level ?? 1,
    kind: "label",
    from: label.from_ms,
    until: label.until_ms,
    confidence: label.confidence,
  }));
  const kinds = contentTypes.map((type) => ({ name: type.name, parent: "", level: 1, kind: "content type", from: type.from_ms, until: null, confidence: type.confidence }));
  return [...inTreeOrder(rows), ...kinds];
}

function inTreeOrder(rows) {
  const names = new Set(rows.map((row) => row.name));
  const children = Map.groupBy(rows, (row) => (names.has(row.parent) && row.parent !== row.name ? row.parent : ""));
  const placed = new Set();
  const ordered = [];
  function place(row) {
    if (placed.has(row)) return;
    placed.add(row);
    ordered.push(row);
    for (const child of children.get(row.name) ?? []) place(child);
  }
  for (const row of children.get("") ?? []) place(row);
  for (const row of rows) place(row); // those of a circle of parents
  return ordered;
}

/** The numbers of a row's detections that are at least so sure. */
export function shownOf(row, threshold) {
  const shown = [];
  for (let i = 0; i < row.confidence.length; i += 1) if (row.confidence[i] >= threshold) shown.push(i);
  return shown;
}

/** The place in `shown` whose detection begins nearest to a time; -1 where nothing is shown. */
export function nearest(row, shown, at) {
  if (!shown.length) return -1;
  let low = 0;
  let high = shown.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row.from[shown[middle]] < at) low = middle + 1;
    else high = middle;
  }
  const isEarlierNearer = low > 0 && at - row.from[shown[low - 1]] < row.from[shown[low]] - at;
  return isEarlierNearer ? low - 1 : low;
}

/** For each of `width` steps of time from `from` on, the highest confidence shown there; 0 for none. */
export function profile(row, shown, from, until, width) {
  const highest = new Float32Array(width);
  const perMs = width / (until - from);
  for (const i of shown) {
    const first = Math.floor((row.from[i] - from) * perMs);
    const last = row.until ? Math.floor(((row.until[i] ?? row.from[i]) - from) * perMs) : first;
    for (let x = Math.max(first, 0); x <= Math.min(last, width - 1); x += 1) {
      if (row.confidence[i] > highest[x]) highest[x] = row.confidence[i];
    }
  }
  return highest;
}
