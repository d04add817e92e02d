/** Text of strangers - class names, file names - as the page may show it; the same as in `shown_text.py`. */

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]|\u034f|\u115f|\u1160|\u17b4|\u17b5|\u3164|\uffa0/u;
const JOINER = /[\u200c\u200d]/;
const JOINED = /[\u0600-\u1fff\u2100-\u{10ffff}]/u; // before a joiner: in Persian, in the scripts of India, in emoji
const MARK = /[\p{Mn}\p{Me}]/u;
const SELECTOR = /[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;
const MOST_MARKS = 10;
const NAMED = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** What is invisible, or turns the direction of writing, as an escape; of long text only its beginning and end. */
export function shown(text, most = 200) {
  const characters = [...String(text)];
  if (characters.length <= most) {
    const whole = escaped(characters);
    if (whole.length <= most) return whole.join("");
  }
  const note = ` ... (${characters.length.toLocaleString("en")} characters) ... `;
  const room = Math.floor((most - note.length) / 2);
  const [head, tail] = [escaped(characters.slice(0, room)), escaped(characters.slice(-room))];
  return [...head.slice(0, room), note, ...tail.slice(-room)].join("");
}

function escaped(characters) {
  let [before, marks] = ["", 0];
  return characters.flatMap((char) => {
    marks = char > "\u02ff" && MARK.test(char) ? marks + 1 : 0;
    const joins = JOINER.test(char) && JOINED.test(before);
    const again = SELECTOR.test(char) && SELECTOR.test(before);
    before = char;
    return (joins || !HIDDEN.test(char)) && !again && marks <= MOST_MARKS ? [char] : [...spelled(char)];
  });
}

function spelled(char) {
  const code = char.codePointAt(0);
  const digits = (number) => code.toString(16).padStart(number, "0");
  if (char in NAMED) return NAMED[char];
  return code < 256 ? `\\x${digits(2)}` : code < 65536 ? `\\u${digits(4)}` : `\\U${digits(8)}`;
}
