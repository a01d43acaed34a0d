// The view Now: lanes, waiting and running calls, live, and what steers them.
import { ask, get, listen } from "./api.js";
import { callLink, frame, h, keyed, note, sessionLink, set, tableRow, toast } from "./dom.js";
import { clock, milliseconds, number, span } from "./format.js";

const PRIORITIES = ["0 first", "1 high", "2", "3", "4", "5 normal", "6", "7 low", "8", "9 batch"];
const WAITING = [["Place", "num"], ["Call", "id"], ["Priority"], ["Waited", "num"], ["ETA", "num"], ["Lane"], ["Model"], ["Session"], ["Agent"], ["Cancel"]];
const RUNNING = [["Running", "num"], ["Call", "id"], ["Waited", "num"], ["Lane"], ["Model"], ["Session"], ["Agent"]];
const SHOWN = 100;

export async function now(place, { signal }) {
  const lanes = h("div", { class: "lanes" }), told = h("ol", { class: "told" });
  const waiting = live("Waiting", WAITING, "Nobody waits: every call goes at once.");
  const running = live("Running", RUNNING, "No call runs.");
  const none = note("No lane yet: add [[upstream]] to /etc/llmqd/llmqd.toml, or a provider key such as OPENAI_API_KEY to the environment, and reload.");
  const quiet = note("Calls that end, pauses, learned limits and alerts will stand here.");
  const kept = new Map();
  let due = null;
  place.append(h("h1", {}, "Now"), h("h2", {}, "Lanes"), none, lanes, waiting.element, running.element, h("h2", {}, "Just happened"), quiet, told);

  async function look() {
    due = null;
    try { paint(await get(`/queue?limit=${SHOWN}`, signal)); } catch (error) {
      if (error.status) toast(error.message);
    }
  }
  function soon() { due ??= setTimeout(look, 200); }
  async function steer(method, path, body, done) {
    try { await ask(method, path, body); toast(done); } catch (error) { toast(error.message); }
    look();
  }
  function paint(queue) {
    none.hidden = queue.lanes.length > 0;
    keyed(lanes, kept, queue.lanes, (lane) => lane.lane, (lane) => laneCard(lane, steer));
    waiting.show(queue.waiting, queue.total, (call) => waitingRow(call, steer));
    running.show(queue.running, queue.running_total, runningRow);
  }
  const stop = listen((event) => {
    soon();
    if (["queued", "started"].includes(event.type)) return;
    quiet.hidden = true;
    told.prepend(h("li", { class: ["alert", "refused"].includes(event.type) ? "bad" : null },
      h("time", {}, clock(new Date(event.at ?? Date.now()))), ` ${event.type.replaceAll("_", " ")} `, sentence(event)));
    while (told.children.length > 20) told.lastChild.remove();
  });
  const tick = setInterval(() => { if (!document.hidden) soon(); }, 1000);
  signal.addEventListener("abort", () => { stop(); clearInterval(tick); clearTimeout(due); });
  paint(await get(`/queue?limit=${SHOWN}`, signal));
}

// A table whose rows stay the same elements while their calls are there.
function live(title, heads, empty) {
  const head = h("h2", {}, title), body = h("tbody", { role: "rowgroup" }), nobody = note(empty), more = note("");
  const shell = frame(title, heads, body), kept = new Map();
  return {
    element: h("section", {}, head, nobody, shell, more),
    show(calls, total, make) {
      set(head, total ? `${title} (${number(total)})` : title);
      nobody.hidden = calls.length > 0;
      shell.hidden = calls.length === 0;
      more.hidden = total <= calls.length;
      set(more, `The first ${calls.length} are shown; llmqd queue list has them all.`);
      keyed(body, kept, calls, (call) => call.request_id, make);
    },
  };
}

// In which lane, and, where several daemons share it, at which of them.
function whereabouts({ lane, member }) {
  return member ? `${lane} at ${member}` : lane;
}

function sentence(event) {
  const where = whereabouts({ lane: event.lane ?? event.upstream ?? "", member: event.member });
  if (event.type === "gap") return "Some events were missed.";
  if (event.type === "finished") return [event.model ?? "", ` in ${where}: ${event.http_status ?? event.status}, ${milliseconds(event.total_ms)} `, callLink(event.request_id)];
  if (event.type === "limit_learned") return `${where}: ${event.dimension.replaceAll("_", " ")} ${number(event.limit)}, from ${event.source}`;
  return `${where} ${event.message ?? event.reason ?? ""}`;
}

function laneCard(first, steer) {
  const name = first.lane, path = `/queue/${name.split("/").map(encodeURIComponent).join("/")}`;
  const waiting = h("b"), running = h("b"), granted = h("b"), state = h("p"), limits = h("div"), kept = new Map();
  let paused = false;
  const button = h("button", { type: "button", onclick: () => (paused
    ? steer("POST", `${path}/resume`, {}, `${name} resumed`)
    : steer("POST", `${path}/pause`, { reason: "from the dashboard" }, `${name} paused`)) });
  const element = h("article", {}, h("header", {}, h("h3", {}, name), button),
    h("p", { class: "counts" }, h("span", {}, waiting, " waiting"), h("span", {}, running, " running"), h("span", {}, granted, " let through")), state, limits);
  return { element, update(lane) {
    paused = Boolean(lane.paused);
    element.className = paused ? "lane paused" : "lane";
    set(button, paused ? "Resume" : "Pause");
    button.setAttribute("aria-label", `${paused ? "Resume" : "Pause"} ${name}`);
    set(waiting, number(lane.waiting));
    set(running, number(lane.running));
    set(granted, number(lane.granted));
    const shared = lane.members?.length > 1 ? `, shared by ${lane.members.length} daemons` : "";
    set(state, (paused ? pause(lane.paused) : "Open") + shared);
    state.className = paused ? "bad" : "good";
    keyed(limits, kept, lane.limits, (limit) => `${limit.dimension} ${limit.models}`, limitBar);
  } };
}

function pause({ by, reason, seconds_left: left }) {
  return `Paused by ${by} ${left === null ? "until resumed" : `for ${span(left)} more`}${reason ? `: ${reason}` : ""}`;
}

function limitBar() {
  const text = h("span"), meter = h("meter", { min: "0", max: "1", high: "0.9" });
  return { element: h("label", {}, text, meter), update(limit) {
    const group = limit.models ? ` for ${limit.models}` : "", source = limit.source ? `, learned from ${limit.source}` : "";
    set(text, `${limit.dimension.replaceAll("_", " ")}${group}: ${Math.round(limit.used * 100)} % of ${number(limit.limit)}${source}`);
    meter.value = Math.min(limit.used, 1);
  } };
}

function waitingRow(first, steer) {
  const id = first.request_id, path = `/queue/${encodeURIComponent(id)}`;
  const position = h("span"), waited = h("span"), eta = h("span");
  const choice = h("select", { "aria-label": `Priority of ${id}`, onchange: () => {
    steer("PATCH", path, { priority: Number(choice.value) }, `${id}: priority ${PRIORITIES[choice.value]}`);
  } }, PRIORITIES.map((name, value) => h("option", { value: String(value) }, name)));
  const cancel = h("button", { type: "button", "aria-label": `Cancel ${id}`, onclick: () => {
    if (confirm(`Cancel ${id}? Its client gets an error.`)) steer("DELETE", path, undefined, `${id} cancelled`);
  } }, "Cancel");
  let known = null;
  return {
    element: tableRow(WAITING, [position, id, choice, waited, eta, whereabouts(first), first.model, sessionLink(first.session), first.agent, cancel]),
    update(call) {
      set(position, number(call.position));
      set(waited, milliseconds(call.waited_ms));
      set(eta, milliseconds(call.eta_ms));
      if (call.priority !== known) choice.value = String(known = call.priority);
    },
  };
}

function runningRow(first) {
  const runs = h("span");
  return {
    element: tableRow(RUNNING, [runs, callLink(first.request_id), milliseconds(first.waited_ms), whereabouts(first), first.model, sessionLink(first.session), first.agent]),
    update(call) { set(runs, milliseconds(call.running_ms)); },
  };
}
