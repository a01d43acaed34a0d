// The frame: which view is shown, keys, theme, login.
import { ask, reopen } from "./api.js";
import { call, calls } from "./call.js";
import { h, note, toast } from "./dom.js";
import { health, keys, settings } from "./house.js";
import { now } from "./now.js";
import { session, sessions } from "./sessions.js";
import { usage } from "./usage.js";

const VIEWS = [["now", "Now", now], ["usage", "Usage", usage], ["sessions", "Sessions", sessions, session], ["calls", "Calls", calls, call],
  ["keys", "Keys and budgets", keys], ["settings", "Settings", settings], ["health", "Health", health]];
const main = document.getElementById("main"), nav = document.getElementById("nav"), logout = document.getElementById("logout");
let leave = new AbortController(), asked = false;

nav.append(...VIEWS.map(([name, title], at) => h("a", { href: `#/${name}`, title: `Key ${at + 1}` }, title)));

function go(to) { location.hash = `#/${to}`; }

async function show(move = true) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const view = VIEWS.find(([one]) => one === name) ?? VIEWS[0];
  for (const [at, anchor] of [...nav.children].entries()) {
    if (VIEWS[at] === view) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  document.title = `${view[1]} – llmqd`;
  const place = h("div", {});
  main.setAttribute("aria-busy", "true");
  main.replaceChildren(place);
  if (move) main.focus({ preventScroll: true });
  try {
    await (id && view[3] ? view[3] : view[2])(place, { signal, id: id && decodeURIComponent(id), params: new URLSearchParams(search), go });
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    if (error.status === 401) return;
    place.append(h("div", { class: "bad", role: "alert" }, h("p", {}, error.message), h("button", { type: "button", onclick: () => show() }, "Try again")));
  }
  if (!signal.aborted) main.removeAttribute("aria-busy");
}

function login() {
  if (asked) return;
  asked = true;
  leave.abort();
  const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true, id: "token" });
  const wrong = h("p", { class: "bad", role: "alert" });
  main.replaceChildren(h("form", { class: "login", onsubmit: async (event) => {
    event.preventDefault();
    try {
      asked = true;
      await ask("POST", "/dashboard/login", { token: token.value });
    } catch (error) {
      wrong.textContent = error.status === 401 ? "That is not an admin token." : error.message;
      token.select();
      return;
    }
    asked = false;
    sessionStorage.setItem("llmqd-login", "1");
    logout.hidden = false;
    reopen();
    show();
  } }, h("h1", {}, "Log in"), note("This daemon asks who you are. An admin token is made with: llmqd keys create --admin"),
  h("label", { for: "token" }, "Admin token"), token, h("button", { type: "submit" }, "Log in"), wrong));
  main.removeAttribute("aria-busy");
  token.focus();
}

logout.hidden = !sessionStorage.getItem("llmqd-login");
logout.addEventListener("click", async () => {
  try { await ask("POST", "/dashboard/logout"); } catch (error) { toast(error.message); return; }
  sessionStorage.removeItem("llmqd-login");
  logout.hidden = true;
  show();
});

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  document.querySelector("meta[name=color-scheme]").content = name || "light dark";
}
theme(localStorage.getItem("llmqd-theme"));
document.getElementById("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark") && document.documentElement.dataset.theme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const name = dark ? "light" : "dark";
  localStorage.setItem("llmqd-theme", name);
  theme(name);
  show(false); // charts are drawn in the colours of the theme
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) go(view[0]);
  if (event.key === "/") { event.preventDefault(); main.querySelector("input[type=search], input")?.focus(); }
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("llmqd-login", login);
addEventListener("hashchange", () => { asked = false; show(); });
show(false);
