/** Class names: how they are shown, and which classes a typed text may mean. */

import { shown } from "./shown_text.js";

/** The names, with the index if several classes share a name, or if a name is the index of another class. */
export function shownNames(labels) {
  const names = labels.map((label) => shown(label));
  const often = new Map();
  for (const name of names) often.set(name, (often.get(name) ?? 0) + 1);
  return names.map((name, index) => {
    const other = indexIn(name, labels.length);
    return often.get(name) > 1 || (other >= 0 && other !== index) ? `${name} (${index})` : name;
  });
}

/** Classes with this shown name; else with this name or index (`name:` or `index:` says which); else with this part. */
export function classesMeant(text, labels, names, count = labels.length) {
  const wanted = text.trim().toLowerCase();
  const where = (list, fits) => list.flatMap((name, index) => (fits(name.toLowerCase()) ? [index] : []));
  const [, kind, rest] = /^(name|index):\s*(.*)$/.exec(wanted) ?? [];
  const called = (name) => where(labels, (label) => label.trim() === name);
  const at = (number) => [indexIn(number, count)].filter((index) => index >= 0);
  if (kind) return kind === "name" ? called(rest) : at(rest);
  const written = where(names, (name) => name === wanted);
  if (written.length) return written;
  const whole = [...new Set([...called(wanted), ...at(wanted)])];
  return whole.length ? whole : where(names, (name) => name.includes(wanted));
}

/** The index that a text stands for; -1 for none. */
function indexIn(text, count) {
  return /^\s*\d+\s*$/.test(text) && Number(text) < count ? Number(text) : -1;
}
