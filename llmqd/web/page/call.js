// The views Calls and one call: all that the ledger knows of it, to read and to send again.
import { get, query } from "./api.js";
import { h, link, note, table, tiles, toast } from "./dom.js";
import { money, number, span, when } from "./format.js";
import { message, sessionLink } from "./message.js";
import { bar } from "./sessions.js";

const FIELDS = ["session_id", "agent_name", "user_id", "model", "key", "upstream", "tag", "status"];

export async function calls(place, { signal, params, go }) {
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    go(`calls${query(Object.fromEntries(new FormData(form)))}`);
  } }, FIELDS.map((name) => h("label", {}, name.replace("_name", "").replace("_id", ""), h("input", { name, value: params.get(name) ?? "" }))),
    h("button", { type: "submit" }, "Search"), h("a", { href: "#/calls" }, "Clear"));
  place.append(h("h1", {}, "Calls"), form);
  const wanted = Object.fromEntries(params);
  const found = await get(`/api/v1/requests${query({ ...wanted, limit: 100 })}`, signal);
  place.append(table("Calls, the latest first", [["Call"], ["Began"], ["Model"], ["Session"], ["Status"], ["Queued", "num"], ["Total", "num"], ["Tokens", "num"], ["Cost", "num"]],
    found.requests.map((call) => [link(`calls/${call.request_id}`, call.request_id), when(call.request_start), call.model, sessionLink(call.session_id), `${call.status} ${call.http_status ?? ""}`,
      span(call.queued_time), span(call.total_time), number(call.total_tokens), money(call.cost)]), "No call fits. Clear a filter, or point a program's base_url at this daemon."));
  if (found.next) place.append(h("p", {}, h("a", { href: `#/calls${query({ ...wanted, cursor: found.next })}` }, "Earlier calls")));
}

export async function call(place, { signal, id }) {
  const url = `/api/v1/requests/${encodeURIComponent(id)}`;
  const [one, said] = await Promise.all([get(url, signal), get(`${url}/messages`, signal)]);
  const costs = one.costs ?? {}, tokens = one.tokens ?? {};
  place.append(h("p", {}, link("calls", "← Calls")), h("h1", {}, `Call ${id}`),
    tiles([["Status", `${one.status} ${one.http_status ?? ""}`], ["Attempts", number(one.attempts)], ["Queued", span(one.queued_time)], ["First byte", span(one.time_to_first_token)], ["Total", span(one.total_time)], ["Cost", money(one.cost)], ["Tokens", number(one.total_tokens)]]),
    h("p", { class: "bad" }, one.error), bar(one, one.total_time || 0.001),
    h("p", {}, h("button", { type: "button", onclick: () => copy(curl(one, said)) }, "Copy as curl")),
    h("h2", {}, "Tokens and cost by kind"),
    table("Tokens and cost by kind", [["Kind"], ["Tokens", "num"], ["Cost", "num"]],
      Object.keys(tokens).map((kind) => [kind.replaceAll("_", " "), number(tokens[kind]), { input: money(costs.input), output: money(costs.output), cached: money(costs.cache_read), cache_write_5m: money(costs.cache_write) }[kind]]), "The upstream reported no usage."),
    h("h2", {}, "Said"),
    said.captured ? h("ol", { class: "chat" }, [...said.system, ...said.messages].map((line) => message(line)), said.response ? message(said.response) : null)
      : note("The words of this call were not kept ([store] capture, or X-LLMQD-Store), or it had none."),
    h("h2", {}, "All fields"),
    table("All fields", [["Field"], ["Value"]], Object.entries(one).filter(([, value]) => value === null || typeof value !== "object" || Array.isArray(value))
      .map(([name, value]) => [name, value === null ? "–" : name === "session_id" ? sessionLink(value) : String(value)]), "Nothing."));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The ledger has what was said, not the bytes: the curl says the same again, with the key left to the caller.
function curl(one, said) {
  const lines = [`curl ${quoted(location.origin + (one.path.startsWith("/") ? one.path : `/${one.path}`))}`, `-X ${one.method}`, "-H 'Content-Type: application/json'", "-H \"Authorization: Bearer $API_KEY\""];
  if (said.captured) {
    const body = { model: one.model, messages: [...said.system, ...said.messages].filter((line) => line.text !== null).map((line) => ({ role: line.role, content: line.text })), ...(one.stream ? { stream: true } : {}) };
    lines.push(`--data-raw ${quoted(JSON.stringify(body))}`);
  }
  return lines.join(" \\\n  ");
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
