// The keyboard, the clock and forms that are not lost. Every page works without this file.
"use strict";

const form = document.getElementById("judge");
const help = document.getElementById("help");
const problem = document.getElementById("problem");
const row = document.querySelector("main[data-row]")?.dataset.row;

// Which key does what: a button, or a reason.
const buttons = new Map([...document.querySelectorAll("button[data-key]")].map((button) => [button.dataset.key, button]));
const reasons = new Map([...document.querySelectorAll("input[data-key]")].map((input) => [input.dataset.key, input]));

// Right after loading, a verdict's key was meant for the page before: nobody judges a row so fast.
setTimeout(() => document.body.classList.add("rested"), 250);

// A reason that is given while the verdict is on its way belongs to that verdict, and the page that shows it sends it.
const LATE = "late reason";

function isWriting(element) {
  return element.matches("textarea, select, input:not([type=radio])");
}

function choose(input) {
  const other = input.checked ? document.querySelector('input[name="reason"][value=""]') : input;
  other.checked = true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing || help.open) return;
  if (event.key === "Escape" && isWriting(event.target)) return event.target.blur();
  if (isWriting(event.target)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "?") openHelp();
  else if (key === "f") document.querySelector(".brand").click();
  else if (key === "n" && form) form.elements.note.focus();
  else if (reasons.has(key)) sending ? sessionStorage.setItem(LATE, `${location.pathname} ${key}`) : choose(reasons.get(key));
  else if (buttons.has(key) && !(key === "Enter" && event.target.matches("a, button"))) {
    const button = buttons.get(key);
    if (button.matches(".chip") || document.body.classList.contains("rested")) button.click();
  } else return;
  event.preventDefault();
});

function openHelp() {
  help.showModal();
}

for (const button of document.querySelectorAll(".help-opens")) {
  button.hidden = false;
  button.addEventListener("click", openHelp);
}

// The clock runs only while the page is in sight.
let seen = 0;
let since = document.hidden ? null : performance.now();
document.addEventListener("visibilitychange", () => {
  if (since !== null) seen += performance.now() - since;
  since = document.hidden ? null : performance.now();
});
function seconds() {
  return ((seen + (since === null ? 0 : performance.now() - since)) / 1000).toFixed(1);
}

// A form is sent behind the page, so that what was written is still there if nobody answers.
let sending = false;
document.addEventListener("submit", async (event) => {
  if (event.target.method !== "post" || event.target.id === "") return;
  event.preventDefault();
  if (sending || event.submitter?.hidden) return;
  sending = true;
  problem.textContent = "";
  if (form) form.elements.seconds.value = seconds();
  const fields = new URLSearchParams(new FormData(event.target));
  if (event.submitter?.name) fields.set(event.submitter.name, event.submitter.value);
  const failed = await send(event.target.action, fields);
  if (failed) {
    problem.textContent = failed;
    problem.scrollIntoView({ block: "nearest" });
    sessionStorage.removeItem(LATE);
    sending = false;
  }
});

async function send(action, fields) {
  let reply;
  try {
    const answer = await fetch(action, { method: "POST", body: fields, headers: { Accept: "application/json" } });
    const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
    reply = isJson ? await answer.json() : { problem: await answer.text() };
  } catch {
    return "Not saved: the server does not answer. If it was stopped, start `feedback-kto audit review` again; all earlier verdicts are kept.";
  }
  if (!reply.to) return reply.problem;
  if (row) sessionStorage.removeItem(row);
  location.assign(reply.to);
  return null;
}

if (form) {
  // Reloading the page, or leaving it and coming back, keeps what was written.
  const kept = sessionStorage.getItem(row);
  if (kept) form.elements.note.value = kept;
  form.elements.note.addEventListener("input", () => sessionStorage.setItem(row, form.elements.note.value));
  const hold = () =>
    fetch(`/row/${row}/hold`, { method: "POST", body: new URLSearchParams({ csrf: form.elements.csrf.value }) }).catch(() => {});
  setInterval(hold, 60_000);
}

const [judged, late] = (sessionStorage.getItem(LATE) ?? "").split(" ");
if (!form) {
  sessionStorage.removeItem(LATE);
  if (judged === location.pathname) buttons.get(late)?.click();
}

// The last message matters most.
for (const messages of document.querySelectorAll(".messages")) messages.scrollTop = messages.scrollHeight;

// Screen readers speak a status that changes, and not one that was there from the start.
const status = document.getElementById("status");
setTimeout(() => { document.getElementById("spoken").textContent = status?.textContent ?? ""; }, 100);
