// The view Now: lanes, waiting and running calls, live, and what steers them.
import { ask, get, listen } from "./api.js";
import { h, link, note, table, toast } from "./dom.js";
import { milliseconds, number, span } from "./format.js";

const PRIORITIES = [[0, "0 first"], [1, "1 high"], [2, "2"], [3, "3"], [4, "4"], [5, "5 normal"], [6, "6"], [7, "7 low"], [8, "8"], [9, "9 batch"]];

export async function now(place, { signal }) {
  const lanes = h("div", { class: "lanes" }), waiting = h("section"), running = h("section"), told = h("ol", { class: "told" });
  let due = null;
  const shown = { seen: 0, queue: null };
  place.append(h("h1", {}, "Now"), h("h2", {}, "Lanes"), lanes, h("h2", {}, "Waiting"), waiting, h("h2", {}, "Running"), running,
    h("h2", {}, "Just happened"), told);

  async function look() {
    due = null;
    try {
      shown.queue = await get("/queue?limit=200", signal);
      shown.seen = Date.now();
    } catch (error) {
      if (error.name !== "AbortError" && !shown.queue) lanes.replaceChildren(note(error.message));
      return;
    }
    paint();
  }
  function soon() { due ??= setTimeout(look, 150); }
  async function steer(method, path, body, done) {
    try { await ask(method, path, body); toast(done); } catch (error) { toast(error.message); }
    look();
  }
  function paint() {
    // A control in use is left alone: nobody's choice or focus is taken away by news.
    const held = document.activeElement;
    if (held?.tagName === "SELECT" && place.contains(held)) return;
    const back = held?.dataset?.key;
    const { queue } = shown;
    lanes.replaceChildren(...(queue.lanes.length ? queue.lanes.map((lane) => laneCard(lane, steer))
      : [note("No lane yet: add [[upstream]] to /etc/llmqd/llmqd.toml, or a provider key such as OPENAI_API_KEY to the environment, and reload.")]));
    waiting.replaceChildren(table(`${queue.total} waiting`, [["Place", "num"], ["Call"], ["Priority"], ["Waited", "num"], ["ETA", "num"], ["Lane"], ["Model"], ["Session"], [""]],
      queue.waiting.map((call) => waitingRow(call, steer)), "Nobody waits: every call goes at once."));
    running.replaceChildren(table(`${queue.running_total} running`, [["Running", "num"], ["Call"], ["Waited", "num"], ["Lane"], ["Model"], ["Session"]],
      queue.running.map((call) => [milliseconds(call.running_ms), link(`calls/${call.request_id}`, call.request_id), milliseconds(call.waited_ms), call.lane, call.model, session(call)]),
      "No call runs."));
    if (back) [...place.querySelectorAll("[data-key]")].find((one) => one.dataset.key === back)?.focus();
  }
  const stop = listen((event) => {
    soon();
    if (["queued", "started"].includes(event.type)) return;
    told.prepend(h("li", {}, h("time", {}, new Date(event.at ?? Date.now()).toLocaleTimeString()), ` ${event.type} `, sentence(event)));
    while (told.children.length > 20) told.lastChild.remove();
  });
  const tick = setInterval(() => { if (!document.hidden) soon(); }, 1000);
  signal.addEventListener("abort", () => { stop(); clearInterval(tick); clearTimeout(due); });
  await look();
}

const session = (call) => (call.session ? link(`sessions/${encodeURIComponent(call.session)}`, call.session) : null);

function sentence(event) {
  if (event.type === "gap") return "some events were missed";
  if (event.type === "finished") return [link(`calls/${event.request_id}`, event.model ?? event.request_id), ` in ${event.lane ?? event.upstream}: ${event.http_status ?? event.status}, ${milliseconds(event.total_ms)}`];
  if (event.type === "limit_learned") return `${event.lane}: ${event.dimension} ${number(event.limit)} (${event.source})`;
  return `${event.lane ?? ""} ${event.message ?? event.reason ?? ""}`;
}

function laneCard(lane, steer) {
  const paused = lane.paused;
  const path = `/queue/${lane.lane.split("/").map(encodeURIComponent).join("/")}`;
  const action = paused
    ? h("button", { type: "button", "data-key": `lane ${lane.lane}`, "aria-label": `Resume ${lane.lane}`, onclick: () => steer("POST", `${path}/resume`, {}, `${lane.lane} resumed`) }, "Resume")
    : h("button", { type: "button", "data-key": `lane ${lane.lane}`, "aria-label": `Pause ${lane.lane}`, onclick: () => steer("POST", `${path}/pause`, { reason: "dashboard" }, `${lane.lane} paused`) }, "Pause");
  const left = paused?.seconds_left;
  return h("article", { class: paused ? "lane paused" : "lane" },
    h("header", {}, h("h3", {}, lane.lane), action),
    h("p", {}, h("b", {}, number(lane.waiting)), " waiting  ", h("b", {}, number(lane.running)), " running"),
    paused ? h("p", { class: "bad" }, `Paused by ${paused.by} ${left === null ? "until resumed" : `for ${span(left)} more`}${paused.reason ? `: ${paused.reason}` : ""}`) : h("p", { class: "good" }, "Open"),
    lane.limits.map((limit) => {
      const label = `${limit.dimension.replaceAll("_", " ")} ${number(limit.limit)}${limit.models ? ` (${limit.models})` : ""}${limit.source ? `, learned from ${limit.source}` : ""}`;
      return h("label", {}, `${label}: ${Math.round(limit.used * 100)} % used`, h("meter", { min: "0", max: "1", high: "0.9", value: String(Math.min(limit.used, 1)) }));
    }));
}

function waitingRow(call, steer) {
  const path = `/queue/${encodeURIComponent(call.request_id)}`;
  const choice = h("select", { "aria-label": `Priority of ${call.request_id}`, onchange: (event) => {
    event.target.blur();
    steer("PATCH", path, { priority: Number(event.target.value) }, `${call.request_id}: priority ${event.target.value}`);
  } }, PRIORITIES.map(([value, name]) => h("option", { value: String(value), selected: value === call.priority }, name)));
  const cancel = h("button", { type: "button", "data-key": `cancel ${call.request_id}`, "aria-label": `Cancel ${call.request_id}`, onclick: () => {
    if (confirm(`Cancel ${call.request_id}? Its client gets an error.`)) steer("DELETE", path, undefined, `${call.request_id} cancelled`);
  } }, "Cancel");
  return [number(call.position), call.request_id, choice, milliseconds(call.waited_ms), milliseconds(call.eta_ms), call.lane, call.model, session(call), cancel];
}
