/** Class names: how they are shown, and which classes a typed text may mean. */

/** The names, with the index if several classes share a name, or if a name is the index of another class. */
export function shownNames(labels) {
  const often = new Map();
  for (const label of labels) often.set(label, (often.get(label) ?? 0) + 1);
  return labels.map((label, index) => {
    const other = indexIn(label, labels);
    return often.get(label) > 1 || (other >= 0 && other !== index) ? `${label} (${index})` : label;
  });
}

/** Classes with this shown name; else with this name or index (`name:` or `index:` says which); else with this part. */
export function classesMeant(text, labels, names) {
  const wanted = text.trim().toLowerCase();
  const where = (list, fits) => list.flatMap((name, index) => (fits(name.toLowerCase()) ? [index] : []));
  const [, kind, rest] = /^(name|index):\s*(.*)$/.exec(wanted) ?? [];
  const called = (name) => where(labels, (label) => label.trim() === name);
  const at = (number) => [indexIn(number, labels)].filter((index) => index >= 0);
  if (kind) return kind === "name" ? called(rest) : at(rest);
  const shown = where(names, (name) => name === wanted);
  if (shown.length) return shown;
  const whole = [...new Set([...called(wanted), ...at(wanted)])];
  return whole.length ? whole : where(names, (name) => name.includes(wanted));
}

/** The index that a text stands for; -1 for none. */
function indexIn(text, labels) {
  return /^\s*\d+\s*$/.test(text) && Number(text) < labels.length ? Number(text) : -1;
}
