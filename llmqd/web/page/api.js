// Asks the daemon. A refusal is thrown with its own sentence; 401 asks for the login.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      headers: { Accept: "application/json", "X-LLMQD-CSRF": "1", ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The daemon does not answer. Is it running (systemctl status llmqd)? This page goes on by itself.");
  }
  const text = await answer.text();
  let said = null;
  try { said = text ? JSON.parse(text) : null; } catch { /* not JSON: the status says enough */ }
  if (answer.ok || path === "/health") return said;
  if (answer.status === 401) dispatchEvent(new CustomEvent("llmqd-login"));
  throw new Refused(answer.status, said?.error?.message ?? `The daemon answered ${answer.status} to ${method} ${path}.`);
}

export const get = (path, signal) => ask("GET", path, undefined, signal);

export function query(values) {
  const wanted = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return wanted.length ? `?${new URLSearchParams(wanted)}` : "";
}

// One stream of events for the whole page; the browser itself reconnects and resumes.
const listeners = new Set();
let source = null;
let retry;

export function listen(listener) {
  listeners.add(listener);
  if (!source) open();
  return () => listeners.delete(listener);
}

function open() {
  source = new EventSource("/events");
  const told = (event) => listeners.forEach((listener) => listener(JSON.parse(event.data)));
  for (const type of ["queued", "started", "finished", "refused", "cancelled", "paused", "resumed", "limit_learned", "alert", "gap"])
    source.addEventListener(type, told);
  const state = document.getElementById("state");
  source.onopen = () => { state.textContent = "live"; state.className = "good"; };
  source.onerror = () => {
    state.textContent = "away, reconnecting";
    state.className = "bad";
    if (source.readyState !== EventSource.CLOSED) return;
    clearTimeout(retry); // a refusal ends an EventSource for good; a new one tries again
    retry = setTimeout(open, 3000);
  };
}

export function reopen() {
  source?.close();
  if (source) open();
}
