// Asks the daemon. A refusal is thrown with its own sentence; 401 asks for the login.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(method, path, body, signal) {
  return (await asked(method, path, body, signal)).said;
}

// A list of which an answer is only a part: { said, next }, next the URL of what follows, or null.
export const list = (path, signal) => asked("GET", path, undefined, signal);

async function asked(method, path, body, signal) {
  const headers = { Accept: "application/json", "X-LLMQD-CSRF": "1" };
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, signal, headers, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The daemon does not answer. Is it running? See: systemctl status llmqd");
  }
  const text = await answer.text();
  let said = null;
  try { said = text ? JSON.parse(text) : null; } catch { /* not JSON: the status says enough */ }
  if (answer.ok || path === "/health") return { said, next: answer.headers.get("Link")?.match(/<([^>]+)>/)?.[1] ?? null };
  if (answer.status === 401 && path !== "/dashboard/login") dispatchEvent(new CustomEvent("llmqd-login"));
  throw new Refused(answer.status, said?.error?.message ?? `The daemon answered ${answer.status} to ${method} ${path}.`);
}

export const get = (path, signal) => ask("GET", path, undefined, signal);

// Who is logged in, and whether one has to be: { needed, role, name }.
export const whoami = () => get("/dashboard/login");

// What is at a URL of the API; null where the daemon has no such URL, which its description says without an error.
export async function described(path, signal) {
  const urls = (await get("/openapi.json", signal)).paths;
  return urls[path.split("?")[0]]?.get ? get(path, signal) : null;
}

export function query(values) {
  const wanted = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return wanted.length ? `?${new URLSearchParams(wanted)}` : "";
}

// One stream of events for the whole page; the browser itself reconnects and resumes.
const TYPES = ["queued", "started", "finished", "refused", "cancelled", "paused", "resumed", "limit_learned", "alert", "gap"];
const listeners = new Set();
let source = null;
let retry;

export function listen(listener) {
  listeners.add(listener);
  if (!source) open();
  return () => listeners.delete(listener);
}

function say(text, kind) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.className = kind;
}

function open() {
  source = new EventSource("/events");
  const told = (event) => listeners.forEach((listener) => listener(JSON.parse(event.data)));
  for (const type of TYPES) source.addEventListener(type, told);
  source.onopen = () => say("live", "good");
  source.onerror = () => {
    say("away, reconnecting", "bad");
    if (source.readyState === EventSource.CLOSED) again(); // a refusal ends an EventSource for good
  };
}

function again() {
  clearTimeout(retry);
  retry = setTimeout(async () => {
    try {
      const who = await whoami();
      if (who.role === null) dispatchEvent(new CustomEvent("llmqd-login")); // a login ends with the daemon
      else open();
    } catch { again(); }
  }, 2000);
}

export function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
  say("", "");
}
