// The view Usage: what was used and spent in any stretch of time, over time and by whom.
import { get, query } from "./api.js";
import { chart } from "./chart.js";
import { csv, h, link, note, table, tiles } from "./dom.js";
import { money, number, percent, span } from "./format.js";

const RANGES = [["1", "last day"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"], ["", "from … to"]];

export async function usage(place, { signal, params, go }) {
  const wish = { days: params.get("days") ?? (params.get("from") ? "" : "7"), from: params.get("from") ?? "", to: params.get("to") ?? "",
    granularity: params.get("granularity") ?? "day", by: params.get("by") ?? "model" };
  const pick = (name, label, values) => h("label", {}, label, h("select", { name }, values.map(([value, text]) => h("option", { value, selected: value === wish[name] }, text))));
  const day = (name, label) => h("label", {}, label, h("input", { type: "date", name, value: wish[name] }));
  const form = h("form", { class: "filters", onchange: () => {
    const chosen = Object.fromEntries(new FormData(form));
    if (chosen.days && chosen.days !== wish.days) chosen.from = chosen.to = "";
    if ((chosen.from && chosen.from !== wish.from) || (chosen.to && chosen.to !== wish.to)) chosen.days = "";
    if (!chosen.days && !chosen.from) return;
    go(`usage${query(chosen)}`);
  }, onsubmit: (event) => event.preventDefault() },
    pick("days", "Range", RANGES), day("from", "From"), day("to", "To"), pick("granularity", "Step", [["hour", "hour"], ["day", "day"]]),
    pick("by", "By", ["model", "agent", "user", "key", "upstream"].map((name) => [name, name])));
  place.append(h("h1", {}, "Usage"), form);
  const window = { days: wish.days, from: wish.from, to: wish.to };
  const base = "/api/v1/analytics";
  const [all, points, split, shares, sessions] = await Promise.all([
    get(`${base}/overview${query(window)}`, signal),
    get(`${base}/usage-trends${query({ ...window, granularity: wish.granularity })}`, signal),
    get(`${base}/usage-trends${query({ ...window, granularity: wish.granularity, by: wish.by })}`, signal),
    get(`${base}/cost-breakdown${query({ ...window, by: wish.by, limit: 50 })}`, signal),
    get(`${base}/cost-breakdown${query({ ...window, by: "session", limit: 20 })}`, signal)]);
  place.append(tiles([["Calls", number(all.total_requests)], ["Errors", `${number(all.error_count)} (${percent(all.error_rate)})`],
    ["Cost", money(all.total_cost)], ["Without a known price", number(all.unknown_cost_count)], ["Tokens in", number(all.total_prompt_tokens)], ["Tokens out", number(all.total_completion_tokens)],
    ["Sessions", number(all.unique_sessions)], ["Cache rate", percent(all.cache_hit_rate)],
    ["Response p50 / p95 / p99", three(all.response_time)], ["First token p50 / p95 / p99", three(all.time_to_first_token)], ["Mean wait", span(all.avg_queued_time)]]));
  if (!all.total_requests) {
    place.append(note("No call in this stretch of time. Point a program's base_url at this daemon, or choose a longer range."));
    return;
  }
  place.append(h("div", { class: "charts" }, charts(points, split, wish.by)), ...costTable(shares, wish.by),
    h("h2", {}, "Most expensive sessions"),
    table("Most expensive sessions", [["Session"], ["Calls", "num"], ["Tokens", "num"], ["Cost", "num"]], sessions.map((one) =>
      [one.category === null ? "no session" : link(`sessions/${encodeURIComponent(one.category)}`, one.category), number(one.total_requests), number(one.total_tokens), money(one.total_cost)]),
    "No session in this stretch of time."));
}

const three = (times) => [times.p50, times.p95, times.p99].map(span).join(" / ");

function charts(points, split, by) {
  const times = points.map((point) => Date.parse(point.start) / 1000);
  const line = (name, of) => ({ name, values: points.map(of) });
  const at = new Map(times.map((time, row) => [time, row]));
  const values = new Map();
  for (const point of split) {
    const name = point.category ?? (point.total_requests ? `no ${by}` : null);
    if (name === null) continue;
    if (!values.has(name)) values.set(name, new Array(times.length).fill(0));
    values.get(name)[at.get(Date.parse(point.start) / 1000)] = point.total_cost === null ? null : Number(point.total_cost);
  }
  const cost = (point) => (point.total_cost === null ? null : Number(point.total_cost));
  return [
    chart("Cost over time", times, [line("cost_usd", cost)], money),
    chart(`Cost by ${by}`, times, [...values].map(([name, costs]) => ({ name, values: costs })), money),
    chart("Tokens over time", times, [line("input", (point) => point.total_prompt_tokens), line("output", (point) => point.total_completion_tokens), line("cached", (point) => point.cached_tokens)], number),
    chart("Calls and errors", times, [line("calls", (point) => point.total_requests), line("errors", (point) => point.error_count)], number),
    chart("Response time", times, ["p50", "p95", "p99"].map((name) => line(name, (point) => point.response_time[name])), span),
    chart("Time to first token", times, ["p50", "p95", "p99"].map((name) => line(name, (point) => point.time_to_first_token[name])), span),
    chart("Cache rate", times, [line("percent", (point) => point.cache_hit_rate)], percent),
  ];
}

function costTable(shares, by) {
  const heads = [by, "calls", "errors", "input_tokens", "output_tokens", "cost_usd"];
  const rows = shares.map((one) => [one.category ?? `no ${by}`, one.total_requests, one.error_count, one.total_prompt_tokens, one.total_completion_tokens, one.total_cost]);
  return [h("h2", {}, `By ${by} `, h("button", { type: "button", "aria-label": `By ${by} as CSV`, onclick: () => csv(`usage-by-${by}.csv`, heads, rows) }, "CSV")),
    table(`By ${by}`, [[by], ["Calls", "num"], ["Errors", "num"], ["Tokens in", "num"], ["Tokens out", "num"], ["Cost", "num"]],
      rows.map(([name, calls, errors, input, output, cost]) => [name, number(calls), number(errors), number(input), number(output), money(cost)]), "Nothing to tell apart.")];
}
