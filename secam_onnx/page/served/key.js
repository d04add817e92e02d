/** The field for a server's key, which is kept in the page's memory and nowhere else. */

/** A promise of what is typed; `again`: what was typed before is not the key. */
export function askForKey(again) {
  const form = document.getElementById("key");
  const [input, words] = [form.querySelector("input"), form.querySelector("output")];
  words.value = again ? "The server does not know this key." : "";
  form.hidden = false;
  input.focus();
  return new Promise((done) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const key = input.value;
      input.value = "";
      form.hidden = true;
      done(key);
    };
  });
}
