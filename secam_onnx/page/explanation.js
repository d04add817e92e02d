/** The numbers of one photograph: which superpixels are kept, and what adds up to the logit. Nothing of the page. */

import { onPhotograph } from "./geometry.js";

export const TOP = 5; // predictions in a result
const COVERAGE = 0.5; // default share of what speaks for the class

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Superpixels, highest mean score first. */
export function ranking({ segment_scores }) {
  return [...segment_scores.keys()].sort((a, b) => segment_scores[b] - segment_scores[a] || a - b);
}

/** How many superpixels are kept by default: the fewest that carry half of what speaks for the class. */
export function usual(entry) {
  const { segment_contributions } = entry;
  const speaking = ranking(entry).filter((label) => segment_contributions[label] > 0);
  const enough = COVERAGE * sum(speaking.map((label) => segment_contributions[label])) * (1 - 1e-9);
  let carried = 0;
  const last = speaking.findIndex((label) => {
    carried += segment_contributions[label];
    return carried >= enough;
  });
  return last + 1;
}

/** Which superpixels are kept, by label: the `count` highest, or the usual ones, none of which speaks against. */
export function kept(entry, count = null) {
  const order = ranking(entry);
  const chosen = count === null ? order.filter((label) => entry.segment_contributions[label] > 0) : order;
  const keep = new Array(order.length).fill(false);
  for (const label of chosen.slice(0, count ?? usual(entry))) keep[label] = true;
  return keep;
}

/** The parts of the logit, and the share of what speaks for the class that is kept. */
export function parts({ logit, bias, segment_contributions }, keep) {
  const of = (test) => sum(Array.from(segment_contributions).filter((_, label) => test(label)));
  const positive = (label) => segment_contributions[label] > 0;
  const [inside, outside] = [of((label) => keep[label]), of((label) => !keep[label])];
  const share = of((label) => keep[label] && positive(label)) / (of(positive) || 1);
  return { inside, outside, bias, gap: logit - inside - outside - bias, share };
}

/** Where each superpixel is: the mean [y, x] of its pixels, on the model's input. */
export function centres({ segments, geometry: { input_size } }) {
  const sums = [];
  segments.forEach((label, i) => {
    sums[label] ??= [0, 0, 0];
    const entry = sums[label];
    entry[0] += Math.floor(i / input_size[1]);
    entry[1] += i % input_size[1];
    entry[2]++;
  });
  return sums.map(([y, x, pixels]) => [y / pixels, x / pixels]);
}

/** Which superpixels lie entirely in the padding, by label. */
export function padding({ segments, geometry }) {
  const shown = onPhotograph(geometry);
  const there = [];
  segments.forEach((label, i) => {
    there[label] ||= shown(i);
  });
  return there.map((seen) => !seen);
}

/** The value of the strongest colour. */
export const limit = ({ cam }) => cam.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const IMAGE = { dtype: "uint8", channels: 3, black: 0, white: 255 }; // what browsers decode all files to

/** The rule for which superpixels are kept. Each class has a slider of its own, so they may differ; null: by coverage. */
function selection(counts) {
  const [first] = counts;
  if (counts.some((count) => count !== first)) return { top_segments_per_class: counts };
  return first === null ? { coverage: COVERAGE } : { top_segments: first };
}

/** As `explanation.json` of secam-onnx; `counts` maps the classes that are shown to how many superpixels are kept. */
export function report(explanation, counts, photograph) {
  const padded = padding(explanation);
  const entries = Array.from(counts, ([index, count]) => {
    const { cam, segment_scores, segment_contributions, ...entry } = explanation.classes.get(index);
    const keep = kept(explanation.classes.get(index), count);
    const { gap } = parts({ ...entry, segment_contributions }, keep);
    const superpixels = Array.from(segment_scores, (score, segment_id) => {
      const contribution = segment_contributions[segment_id];
      return { segment_id, score, contribution, kept: keep[segment_id], in_padding: padded[segment_id] };
    });
    const bias_share = entry.logit ? entry.bias / entry.logit : null;
    return { ...entry, gap, ...(explanation.method?.attention_blocks && { bias_share }), superpixels };
  });
  const error = entries.map(({ logit, gap, superpixels }) => {
    const size = Math.max(Math.abs(logit), sum(superpixels.map((part) => Math.abs(part.contribution))), 1e-30);
    return Math.abs(gap) / size;
  });
  return {
    schema: 2,
    image: photograph,
    predictions: explanation.predictions.map(({ index, label, probability, logit }) => {
      return { index, label, probability, logit };
    }),
    classes: entries,
    completeness_error: Math.max(...error),
    method: { ...explanation.method, image: IMAGE },
    selection: selection([...counts.values()]),
    geometry: explanation.geometry,
    timings_ms: explanation.timings,
  };
}
