/** What a user is told of maps that are made through attention: as `AttentionRecord` and `no_place` of the package. */

const NOT_MEASURED =
  "not measured for networks of this kind (windows, convolutions between the blocks, a single block)";
const ROUNDS = "what rounding changes is the completeness gap";

/** How such a map is made; `attention` is `head.attention` of the metadata. */
export function attributionThrough(attention) {
  const held = `${lastBlocks(attention)}, attention weights held; what moves attention is not counted`;
  const rounded = attention.rounds ? `; ${ROUNDS}` : "";
  return `gradient x activation from ${held}${rounded}${attention.plain ? "" : `; ${NOT_MEASURED}`}`;
}

function lastBlocks({ passed, total }) {
  const [nearer, last] = [passed.slice(0, -1), passed.at(-1)];
  if (nearer.length) return `the last ${nearer.join(", ")} and ${last} of ${total} attention blocks, averaged`;
  if (total === 1) return "the only attention block";
  if (last === total) return `all ${last} attention blocks`;
  return `the last${last > 1 ? ` ${last}` : ""} of ${total} attention blocks`;
}

/** How much of a logit belongs to no place. */
export function noPlace({ bias, logit }) {
  const signed = (value) => `${value < 0 ? "" : "+"}${value.toFixed(2)}`;
  const share = bias / logit;
  if (share >= 0 && share <= 1)
    return `${(100 * share).toFixed(0)} % of the logit (${signed(bias)}) belongs to no place`;
  return `of the logit ${signed(logit)}, ${signed(logit - bias)} belongs to places and ${signed(bias)} to none`;
}
