// The frame: which view is shown, keys, theme, login.
import { ask, close, whoami } from "./api.js";
import { call, calls } from "./call.js";
import { h, note, toast } from "./dom.js";
import { health, keys, settings } from "./house.js";
import { now } from "./now.js";
import { session, sessions } from "./sessions.js";
import { usage } from "./usage.js";

// Name in the URL, title, the view, the view of one, and whether a client key may look.
const ALL = [["now", "Now", now, null, false], ["usage", "Usage", usage, null, false], ["sessions", "Sessions", sessions, session, true], ["calls", "Calls", calls, call, true],
  ["keys", "Keys and budgets", keys, null, true], ["settings", "Settings", settings, null, false], ["health", "Health", health, null, true]];
const main = document.getElementById("main"), nav = document.getElementById("nav"), logout = document.getElementById("logout"), help = document.getElementById("help");
let views = [], leave = new AbortController(), who = null, asking = false;

function go(to) { location.hash = `#/${to}`; }

// Asks who looks, and shows what they may see; nothing that would be refused is asked for.
async function enter() {
  try {
    who = await whoami();
  } catch (error) {
    failed(main, "llmqd", error, enter);
    return;
  }
  if (who.role === null) { login(); return; }
  asking = false;
  logout.hidden = !who.needed;
  views = ALL.filter((view) => who.role !== "client" || view[4]);
  nav.replaceChildren(...views.map(([name, title], at) => h("a", { href: `#/${name}`, title: `Key ${at + 1}` }, title)));
  await show(false);
}

async function show(move = true) {
  if (asking || !views.length) return;
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const view = views.find(([one]) => one === name) ?? views[0];
  for (const [at, anchor] of [...nav.children].entries()) {
    if (views[at] === view) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  document.title = `${id ? decodeURIComponent(id) : view[1]} – llmqd`;
  const place = h("div", {});
  main.setAttribute("aria-busy", "true");
  main.replaceChildren(place);
  if (move) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  try {
    await (id && view[3] ? view[3] : view[2])(place, { signal, id: id && decodeURIComponent(id), params: new URLSearchParams(search), go, role: who.role });
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted || error.status === 401) return;
    failed(place, view[1], error, () => show());
  }
  if (!signal.aborted) main.removeAttribute("aria-busy");
}

function failed(place, title, error, again) {
  if (!(error.status >= 0)) console.error(error);
  if (!place.querySelector("h1")) place.append(h("h1", {}, title));
  place.append(h("div", { class: "card", role: "alert" }, h("p", { class: "bad" }, error.message), h("button", { type: "button", onclick: (event) => { event.target.parentNode.remove(); again(); } }, "Try again")));
}

function login() {
  if (asking) return;
  asking = true;
  leave.abort();
  close();
  logout.hidden = true;
  nav.replaceChildren();
  const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true, id: "token" });
  const wrong = h("p", { class: "bad", role: "alert" });
  main.replaceChildren(h("form", { class: "login card", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "/dashboard/login", { token: token.value });
    } catch (error) {
      wrong.textContent = error.message;
      token.select();
      return;
    }
    await enter();
  } }, h("h1", {}, "Log in"),
  note("This daemon asks who you are. The admin token is what [auth] admin_token names; a client key shows its own sessions and calls."),
  h("input", { type: "text", name: "username", autocomplete: "username", value: "admin", hidden: true }), // for those who keep passwords
  h("label", { for: "token" }, "Admin token or client key"), token, h("button", { type: "submit" }, "Log in"), wrong));
  main.removeAttribute("aria-busy");
  document.title = "Log in – llmqd";
  token.focus();
}

logout.addEventListener("click", async () => {
  try { await ask("POST", "/dashboard/logout"); } catch (error) { toast(error.message); return; }
  close();
  enter();
});

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  document.querySelector("meta[name=color-scheme]").content = name || "light dark";
}
theme(localStorage.getItem("llmqd-theme"));
document.getElementById("theme").addEventListener("click", () => {
  const chosen = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const name = chosen === "dark" ? "light" : "dark";
  localStorage.setItem("llmqd-theme", name);
  theme(name);
  show(false); // charts are drawn in the colours of the theme
});

// From one row's link to the next.
function step(by) {
  const links = [...main.querySelectorAll("tbody tr")].map((row) => row.querySelector("a, select, button")).filter(Boolean);
  if (!links.length) return;
  const at = links.findIndex((one) => one.closest("tr").contains(document.activeElement));
  links[Math.min(Math.max(at < 0 ? 0 : at + by, 0), links.length - 1)].focus();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const view = views[Number(event.key) - 1];
  if (view) go(view[0]);
  else if (event.key === "/") { event.preventDefault(); main.querySelector("input[type=search], input, select")?.focus(); }
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "r") show(false);
  else if (event.key === "?") help.showModal();
});
document.getElementById("keys").addEventListener("click", () => help.showModal());
document.getElementById("shut").addEventListener("click", () => help.close());
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("llmqd-login", login);
addEventListener("hashchange", () => show());
enter();
