/** The field for a server's key, which is kept only in the memory of the page. */

/** A promise of the key that is typed; `again` says that the last one was wrong. */
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
