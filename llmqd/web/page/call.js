// The views Calls and one call: all that the ledger knows of it, to read and to send again.
import { get, query } from "./api.js";
import { curl } from "./curl.js";
import { callLink, facts, h, link, note, sessionLink, table, tiles, toast } from "./dom.js";
import { money, number, span, when } from "./format.js";
import { message } from "./message.js";
import { bar } from "./sessions.js";

const FIELDS = [["session_id", "Session"], ["agent_name", "Agent"], ["user_id", "User"], ["model", "Model"], ["key", "Key"], ["upstream", "Upstream"], ["tag", "Tag"]];
const MORE = [["start_date", "From", "date"], ["end_date", "To", "date"], ["min_cost", "Cost from $", "number"], ["max_cost", "Cost to $", "number"]];
const STATUS = ["", "running", "done", "cut", "failed", "cancelled", "abandoned", "refused", "interrupted"];
const HEADS = [["Call", "id"], ["Began", "time"], ["Model"], ["Session"], ["Status"], ["Queued", "num"], ["First byte", "num"], ["Total", "num"], ["Tokens", "num"], ["Cost", "num"]];
// By what calls are found only by looking at each, and what bounds how many those are.
const SLOW = ["tag", "min_cost", "max_cost"], FAST = ["session_id", "start_date", "end_date", "cursor"], DAYS = 7;
const PRICED = { input: "input", output: "output", cached: "cache_read", cache_write_5m: "cache_write" };

export async function calls(place, { signal, params, go }) {
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    go(`calls${query(Object.fromEntries(new FormData(form)))}`);
  } }, [...FIELDS, ...MORE].map(([name, label, type]) => h("label", {}, label, h("input", { name, type: type ?? "text", min: type === "number" ? "0" : null, step: type === "number" ? "any" : null, value: params.get(name) ?? "" }))),
    h("label", {}, "Status", h("select", { name: "status" }, STATUS.map((value) => h("option", { value, selected: value === (params.get("status") ?? "") }, value || "any")))),
    h("button", { type: "submit" }, "Search"), h("a", { href: "#/calls" }, "Clear"));
  place.append(h("h1", {}, "Calls"), form);
  const { all, ...wanted } = Object.fromEntries(params);
  const looked = { ...wanted };
  if (!all && SLOW.some((name) => wanted[name]) && !FAST.some((name) => wanted[name])) {
    looked.start_date = new Date(Date.now() - DAYS * 86400000).toISOString().slice(0, 10);
    place.append(h("p", { class: "note" }, `Only the last ${DAYS} days were looked through. `, h("a", { href: `#/calls${query({ ...wanted, all: "1" })}` }, "Look through all calls"), ", which takes longer the more there are."));
  }
  const found = await get(`/api/v1/requests${query({ ...looked, limit: 100 })}`, signal);
  place.append(table("Calls, the latest first", HEADS, found.requests.map((call) => [callLink(call.request_id), when(call.request_start), call.model, sessionLink(call.session_id), `${call.status} ${call.http_status ?? ""}`,
    span(call.queued_time), span(call.time_to_first_token), span(call.total_time), number(call.total_tokens), money(call.cost)]), "No call fits. Clear a filter, or point a program's base_url at this daemon."));
  if (found.next) place.append(h("p", {}, h("a", { href: `#/calls${query({ ...looked, all, cursor: found.next })}` }, "Earlier calls")));
}

export async function call(place, { signal, id }) {
  const url = `/api/v1/requests/${encodeURIComponent(id)}`;
  const [one, said] = await Promise.all([get(url, signal), get(`${url}/messages`, signal)]);
  place.append(h("p", {}, link("calls", "← Calls")), h("h1", {}, `Call ${id}`),
    tiles([["Status", `${one.status} ${one.http_status ?? ""}`], ["Attempts", number(one.attempts)], ["Queued", span(one.queued_time)], ["First byte", span(one.time_to_first_token)], ["Total", span(one.total_time)], ["Tokens", number(one.total_tokens)], ["Cost", money(one.cost)]]));
  if (one.error) place.append(h("p", { class: "bad" }, one.error));
  place.append(bar(one, one.total_time || 0.001), h("p", { class: "key note" }, h("span", { class: "queued" }), " waited for its turn ", h("span", { class: "first" }), " to the first byte ", h("span", { class: "stream" }), " to the end"),
    h("p", {}, h("button", { type: "button", onclick: () => copy(curl(one, said)) }, "Copy as curl")),
    ...attempts(one),
    h("div", { class: "columns" }, h("section", {}, h("h2", {}, "Said"), words(said)),
      h("section", {}, h("h2", {}, "Tokens and cost by kind"), kinds(one), h("h2", {}, "All fields"), fields(one))));
}

const VERDICTS = { wait: "waited for another turn", slower: "waited, and the lane slowed down", retry: "tried again", permanent: "gave this upstream up" };
const TRIED = [["Upstream"], ["Lane"], ["Began", "num"], ["Took", "num"], ["Answer", "num"], ["Then"], ["Why", "wide"]];

// Where a call was tried: those attempts that were not the last one, and the last one.
function attempts(one) {
  if (!one.failed_attempts.length) return [];
  const rows = one.failed_attempts.map((each) => [each.provider, each.lane, each.begin === null ? "no turn" : span(each.begin), span(each.begin === null ? null : each.end - each.begin),
    each.http_status, VERDICTS[each.verdict] ?? each.verdict, each.reason]);
  const begun = one.failed_attempts.filter((each) => each.begin !== null).length;
  if (one.attempts > begun) rows.push([one.provider, one.lane, null, null, one.http_status, one.status, one.error]);
  return [h("h2", {}, "Attempts"), table("Attempts, times since the call came", TRIED, rows)];
}

function words(said) {
  if (!said.captured) return note("The words of this call were not kept ([store] capture, or X-LLMQD-Store), or it had none.");
  const missing = said.missing ? h("li", { class: "branch" }, `${said.missing} earlier messages are not known.`) : null;
  return h("ol", { class: "chat" }, said.system.map((line) => message(line)), missing, said.messages.map((line) => message(line)), said.response ? message(said.response) : null);
}

function kinds(one) {
  const costs = one.costs ?? {}, tokens = one.tokens ?? {};
  return table("Tokens and cost by kind", [["Kind"], ["Tokens", "num"], ["Cost", "num"]], Object.keys(tokens).map((kind) => [kind.replaceAll("_", " "), number(tokens[kind]), money(costs[PRICED[kind]])]),
    "The upstream reported no usage.");
}

function fields(one) {
  const shown = Object.entries(one).filter(([, value]) => value === null || typeof value !== "object" || (Array.isArray(value) && typeof value[0] !== "object"));
  return [facts(shown.map(([name, value]) => [name, value === null || value.length === 0 ? "–" : name === "session_id" ? sessionLink(value) : Array.isArray(value) ? value.join(", ") : String(value)])),
    note("Headers and keys are not in the ledger, so none can be shown.")];
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("copied");
  } catch {
    const field = h("textarea", { readonly: true, "aria-label": "The call as curl", rows: "6" });
    field.value = text;
    document.querySelector("main h1").after(field);
    field.select();
    toast("This browser does not allow copying here; the text is selected.");
  }
}
