// The views Sessions and one session: searching, reading what was said, and what each turn took and cost.
import { ask, get, query } from "./api.js";
import { h, link, note, table, tiles, toast } from "./dom.js";
import { money, number, percent, span, when } from "./format.js";
import { message } from "./message.js";

const FIELDS = [["text", "Text", "search"], ["agent_name", "Agent", "text"], ["user_id", "User", "text"], ["model", "Model", "text"], ["tag", "Tag", "text"],
  ["start_date", "From", "date"], ["end_date", "To", "date"], ["min_cost", "Cost from", "number"], ["max_cost", "Cost to", "number"]];
const STATUS = ["", "done", "cut", "failed", "cancelled", "abandoned", "refused", "interrupted"];
const HEADS = [["Session"], ["Last active"], ["Agent"], ["User"], ["Models"], ["Calls", "num"], ["Errors", "num"], ["Tokens", "num"], ["Cost", "num"]];

export async function sessions(place, { signal, params, go }) {
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    go(`sessions${query(Object.fromEntries(new FormData(form)))}`);
  } },
    FIELDS.map(([name, label, type]) => h("label", {}, label, h("input", { name, type, value: params.get(name) ?? "", min: type === "number" ? "0" : null, step: type === "number" ? "any" : null }))),
    h("label", {}, "Status", h("select", { name: "status" }, STATUS.map((value) => h("option", { value, selected: value === (params.get("status") ?? "") }, value || "any")))),
    h("button", { type: "submit" }, "Search"), h("a", { href: "#/sessions" }, "Clear"));
  const list = h("div"), more = h("button", { type: "button", hidden: true }, "More");
  place.append(h("h1", {}, "Sessions"), form, list, more);
  const filter = {};
  for (const [name, value] of params) if (value !== "") filter[name] = name.endsWith("_cost") ? Number(value) : value;
  const rows = [];
  let cursor = "";
  async function page() {
    const found = await ask("POST", `/api/v1/sessions/search${query({ limit: 50, cursor })}`, filter, signal);
    cursor = found.next ?? "";
    rows.push(...found.sessions.map((one) => [link(`sessions/${encodeURIComponent(one.session_id)}`, one.session_id), when(one.session_end), one.agent_name, one.user_id, one.models_used.join(", "),
      number(one.request_count + one.error_count), number(one.error_count), number(one.total_tokens), money(one.total_cost)]));
    list.replaceChildren(table(found.total === null ? `${rows.length} sessions found so far` : `${rows.length} of ${found.total} sessions`, HEADS, rows,
      cursor ? "None so far; More goes on searching." : "No session fits. Clear a filter, or make a call: programs that name no session are recognised by what they say."));
    more.hidden = !cursor;
  }
  more.addEventListener("click", () => page().catch((error) => toast(error.message)));
  await page();
}

export async function session(place, { signal, id }) {
  const url = `/api/v1/sessions/${encodeURIComponent(id)}`;
  const [one, said, calls] = await Promise.all([get(`${url}/summary`, signal), get(`${url}/messages?limit=500`, signal),
    get(`/api/v1/requests${query({ session_id: id, limit: 200 })}`, signal)]);
  place.append(h("p", {}, link("sessions", "← Sessions")), h("h1", {}, id),
    tiles([["Calls", number(one.request_count)], ["Errors", number(one.error_count)], ["Cost", money(one.total_cost)], ["Tokens in", number(one.prompt_tokens)], ["Tokens out", number(one.completion_tokens)],
      ["Duration", span(one.total_duration_seconds)], ["Cache rate", percent(one.cache_hit_rate)], ["Agent", one.agent_name], ["User", one.user_id], ["Recognised by", one.source]]),
    h("h2", {}, "Transcript"), transcript(said), h("h2", {}, "Turns"), turns([...calls.requests].reverse()));
  if (said.length === 500) place.append(note("The first 500 messages are shown; the API has the rest."));
  if (calls.next) place.append(note("The last 200 calls are shown; the API has the rest."));
}

function transcript(said) {
  if (!said.length) return note("Nothing was kept of what was said here. [store] capture decides that.");
  const number = new Map(said.map((one, at) => [one.id, at + 1]));
  return h("ol", { class: "chat" }, said.map((one, at) => {
    const branches = at > 0 && one.parent !== said[at - 1].id;
    return [branches && h("li", { class: "branch" }, number.has(one.parent) ? `Branch: goes on from message ${number.get(one.parent)}` : "Branch: begins anew"), message(one, at + 1)];
  }));
}

function turns(calls) {
  const longest = Math.max(...calls.map((call) => call.total_time ?? 0), 0.001);
  const heads = [["Call"], ["Began"], ["Model"], ["Status"], ["Queued", "num"], ["First byte", "num"], ["Total", "num"], ["Queued / to first byte / streaming"], ["Tokens", "num"], ["Cost", "num"]];
  return table("Turns", heads, calls.map((call) => [link(`calls/${call.request_id}`, call.request_id), when(call.request_start), call.model, `${call.status} ${call.http_status ?? ""}`,
    span(call.queued_time), span(call.time_to_first_token), span(call.total_time), bar(call, longest), number(call.total_tokens), money(call.cost)]), "No call is kept of this session.");
}

export function bar(call, longest) {
  const queued = call.queued_time ?? 0, total = call.total_time ?? 0, first = call.time_to_first_token ?? total;
  const piece = (name, seconds) => {
    const element = h("span", { class: name });
    element.style.width = `${Math.max(0, (seconds / longest) * 100)}%`;
    return element;
  };
  return h("div", { class: "bar", role: "img", "aria-label": `queued ${span(queued)}, first byte after ${span(first)}, total ${span(total)}` },
    piece("queued", queued), piece("first", first - queued), piece("stream", total - first));
}
