// The views Sessions and one session: searching, reading what was said, and what each turn took and cost.
import { ask, get, list, query } from "./api.js";
import { callLink, h, link, note, sessionLink, table, tiles, toast } from "./dom.js";
import { money, number, percent, span, when } from "./format.js";
import { message } from "./message.js";

const FIELDS = [["text", "Text", "search"], ["agent_name", "Agent", "text"], ["user_id", "User", "text"], ["model", "Model", "text"], ["tag", "Tag", "text"],
  ["start_date", "From", "date"], ["end_date", "To", "date"], ["min_cost", "Cost from $", "number"], ["max_cost", "Cost to $", "number"]];
const STATUS = ["", "done", "cut", "failed", "cancelled", "abandoned", "refused", "interrupted"];
const HEADS = [["Session", "id"], ["Last active", "time"], ["Agent"], ["User"], ["Models"], ["Calls", "num"], ["Errors", "num"], ["Tokens", "num"], ["Cost", "num"]];
const TURNS = [["Call", "id"], ["Began", "time"], ["Model"], ["Status"], ["Queued", "num"], ["First byte", "num"], ["Total", "num"], ["Queued, to first byte, to the end", "wide"], ["Tokens", "num"], ["Cost", "num"]];
const PAGE = 200;

export async function sessions(place, { signal, params, go }) {
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    go(`sessions${query(Object.fromEntries(new FormData(form)))}`);
  } },
    FIELDS.map(([name, label, type]) => h("label", {}, label, h("input", { name, type, value: params.get(name) ?? "", min: type === "number" ? "0" : null, step: type === "number" ? "any" : null }))),
    h("label", {}, "Status", h("select", { name: "status" }, STATUS.map((value) => h("option", { value, selected: value === (params.get("status") ?? "") }, value || "any")))),
    h("button", { type: "submit" }, "Search"), h("a", { href: "#/sessions" }, "Clear"));
  const found = h("div"), more = h("button", { type: "button", hidden: true }, "More");
  place.append(h("h1", {}, "Sessions"), form, found, more);
  const filter = {};
  for (const [name, value] of params) if (value !== "") filter[name] = name.endsWith("_cost") ? Number(value) : value;
  const rows = [];
  let cursor = "";
  async function page() {
    const some = await ask("POST", `/api/v1/sessions/search${query({ limit: 50, cursor })}`, filter, signal);
    cursor = some.next ?? "";
    rows.push(...some.sessions.map((one) => [sessionLink(one.session_id), when(one.session_end), one.agent_name, one.user_id, one.models_used.join(", "),
      number(one.request_count + one.error_count), number(one.error_count), number(one.total_tokens), money(one.total_cost)]));
    const caption = some.total === null ? `${rows.length} sessions found so far` : `${number(rows.length)} of ${number(some.total)} sessions`;
    found.replaceChildren(table(caption, HEADS, rows,
      cursor ? "None so far; More goes on searching." : "No session fits. Words are found whole: kangaroo* finds kangaroos. Clear a filter, or make a call: programs that name no session are recognised by what they say."));
    more.hidden = !cursor;
  }
  more.addEventListener("click", () => page().catch((error) => toast(error.message)));
  await page();
}

export async function session(place, { signal, id }) {
  const url = `/api/v1/sessions/${encodeURIComponent(id)}`;
  const [one, said, calls] = await Promise.all([get(`${url}/summary`, signal), list(`${url}/messages?limit=${PAGE}`, signal),
    get(`/api/v1/requests${query({ session_id: id, limit: PAGE })}`, signal)]);
  place.append(h("p", {}, link("sessions", "← Sessions")), h("h1", {}, id),
    tiles([["Calls", number(one.request_count)], ["Errors", number(one.error_count)], ["Cost", money(one.total_cost)], ["Tokens in", number(one.prompt_tokens)], ["Tokens out", number(one.completion_tokens)],
      ["Duration", span(one.total_duration_seconds)], ["Cache rate", percent(one.cache_hit_rate)], ["Agent", one.agent_name], ["User", one.user_id], ["Recognised by", one.source]]),
    h("h2", {}, "Turns"), turns([...calls.requests].reverse()));
  if (calls.next) place.append(h("p", { class: "note" }, `The last ${PAGE} calls are shown; `, h("a", { href: `#/calls${query({ session_id: id })}` }, "all calls"), "."));
  place.append(h("h2", {}, "Transcript"), ...transcript(said, signal));
}

// What was said, some messages at a time.
function transcript(first, signal) {
  if (!first.said.length) return [note("Nothing was kept of what was said here. [store] capture decides that.")];
  const chat = h("ol", { class: "chat" }), places = new Map();
  let before = null, count = 0, next;
  const add = (some) => {
    for (const one of some.said) {
      count += 1;
      if (before !== null && one.parent !== before) {
        const from = places.get(one.parent);
        chat.append(h("li", { class: "branch" }, from ? `Branch: goes on from message ${from}` : "Branch: begins anew"));
      }
      places.set(one.id, count);
      before = one.id;
      chat.append(message(one, count));
    }
    next = some.next;
    more.hidden = next === null;
  };
  const more = h("button", { type: "button", onclick: () => list(next, signal).then(add, (error) => toast(error.message)) }, "More messages");
  add(first);
  return [chat, more];
}

function turns(calls) {
  const longest = Math.max(...calls.map((call) => call.total_time ?? 0), 0.001);
  return table("Turns", TURNS, calls.map((call) => [callLink(call.request_id), when(call.request_start), call.model, `${call.status} ${call.http_status ?? ""}`,
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
