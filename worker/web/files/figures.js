// Numbers as people read them; the same words as the command line's.

const whole = new Intl.NumberFormat("en-US");
const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

export const count = (number) => whole.format(Math.round(number));
export const counted = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
export const usd = (amount) => money.format(amount);

/** A rate with as many digits as it deserves. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 100) return count(number);
  return number.toFixed(number >= 10 ? 1 : 2).replace(/\.?0+$/, "");
}

/** Rounded down: only what is all there is 100%. */
export function percent(part, total) {
  return total ? `${Math.floor((part * 1000) / total) / 10}%` : "0%";
}

/** A confidence to one digit, cut off: what is shown as 80% is no less. */
export const confidence = (percents) => `${(Math.floor(percents * 10 + 1e-6) / 10).toFixed(1)}%`;

/** The two leading units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "not known yet";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(minutes / 1440);
  if (days) return `${days} d ${hours % 24} h`;
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

const two = (number) => String(Math.floor(number)).padStart(2, "0");

/** A time within a video: m:ss.mmm, with hours where there are any. */
export function clock(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  const seconds = milliseconds / 1000;
  const rest = `${two((seconds / 60) % 60)}:${two(seconds % 60)}.${String(milliseconds % 1000).padStart(3, "0")}`;
  return seconds >= 3600 ? `${Math.floor(seconds / 3600)}:${rest}` : rest;
}

/** A moment, in the reader's time zone. */
export function moment(text) {
  if (!text) return "–";
  const when = new Date(text);
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${timeOfDay(when)}`;
}

export function timeOfDay(when) {
  return `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
}

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 1000 && unit < units.length - 1; unit += 1) amount /= 1000;
  return `${rate(amount)} ${units[unit]}`;
}
