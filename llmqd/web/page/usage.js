// The view Usage: what was used and spent in any stretch of time, over time and by whom.
import { get, query } from "./api.js";
import { chart } from "./chart.js";
import { csv, h, note, sessionLink, table, tiles } from "./dom.js";
import { money, number, percent, span } from "./format.js";

const RANGES = [["1", "last day"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"], ["", "from … to"]];
const WAYS = ["model", "agent", "user", "key", "upstream"];
const BASE = "/api/v1/analytics";
const LINES = 8;
const MOST_POINTS = 1500; // of all lines of a chart together: more can neither be told apart nor drawn at once
const MOST_HOURS = 15 * 24; // beyond it what is told apart is told by days

export async function usage(place, { signal, params, go }) {
  const wish = { days: params.get("days") ?? (params.get("from") ? "" : "7"), from: params.get("from") ?? "", to: params.get("to") ?? "", by: params.get("by") ?? "model" };
  wish.granularity = params.get("granularity") ?? (Number(wish.days) === 1 ? "hour" : "day");
  place.append(h("h1", {}, "Usage"), form(wish, go));
  const window = { days: wish.days, from: wish.from, to: wish.to }, trend = { ...window, granularity: wish.granularity }, apart = apartBy(wish);
  const [all, points, whole, split, shares, sessions] = await Promise.all([
    get(`${BASE}/overview${query(window)}`, signal),
    get(`${BASE}/usage-trends${query(trend)}`, signal),
    apart.granularity === wish.granularity ? null : get(`${BASE}/usage-trends${query({ ...window, granularity: apart.granularity })}`, signal),
    get(`${BASE}/usage-trends${query({ ...window, ...apart, by: wish.by })}`, signal),
    get(`${BASE}/cost-breakdown${query({ ...window, by: wish.by, limit: 50 })}`, signal),
    get(`${BASE}/cost-breakdown${query({ ...window, by: "session", limit: 20 })}`, signal)]);
  place.append(overview(all));
  if (!all.total_requests) {
    place.append(note("No call in this stretch of time. Point a program's base_url at this daemon, or choose a longer range."));
    return;
  }
  const step = seconds(wish.granularity);
  place.append(h("div", { class: "charts" }, charts(points, step, costBy(whole ?? points, split, wish.by, apart.granularity))), ...costTable(shares, wish.by),
    h("h2", {}, "Most expensive sessions"),
    table("Most expensive sessions", [["Session", "id"], ["Calls", "num"], ["Tokens", "num"], ["Cost", "num"]],
      sessions.map((one) => [sessionLink(one.category) ?? "no session", number(one.total_requests), number(one.total_tokens), money(one.total_cost)]),
      "No session in this stretch of time."));
}

// What is told apart has a line for each of the dearest: fewer, or of days, where the stretch is long.
function apartBy(wish) {
  const days = Math.max(1, Number(wish.days) || (Date.parse(wish.to || new Date().toISOString()) - Date.parse(wish.from)) / 86400000);
  const granularity = wish.granularity === "hour" && days * 24 <= MOST_HOURS ? "hour" : "day";
  const points = days * (granularity === "hour" ? 24 : 1);
  return { granularity, limit: Math.max(1, Math.min(LINES, Math.floor(MOST_POINTS / points))) };
}

function form(wish, go) {
  const pick = (name, label, values) => h("label", {}, label, h("select", { name }, values.map(([value, text]) => h("option", { value, selected: value === wish[name] }, text))));
  const day = (name, label) => h("label", {}, label, h("input", { type: "date", name, value: wish[name] }));
  const made = h("form", { class: "filters", onchange: () => {
    const chosen = Object.fromEntries(new FormData(made));
    if (chosen.days && chosen.days !== wish.days) {
      chosen.from = chosen.to = "";
      if (chosen.granularity === wish.granularity) delete chosen.granularity; // as fits the new range
    }
    if ((chosen.from && chosen.from !== wish.from) || (chosen.to && chosen.to !== wish.to)) chosen.days = "";
    if (!chosen.days && !chosen.from) return;
    go(`usage${query(chosen)}`);
  }, onsubmit: (event) => event.preventDefault() },
    pick("days", "Range", RANGES), day("from", "From"), day("to", "To"), pick("granularity", "Step", [["hour", "hour"], ["day", "day"]]),
    pick("by", "By", WAYS.map((name) => [name, name])));
  return made;
}

function overview(all) {
  const three = (times) => h("span", { class: "three" }, ["p50", "p95", "p99"].map((name) => h("span", {}, h("small", {}, name), " ", span(times[name]))));
  return tiles([["Calls", number(all.total_requests)], ["Errors", `${number(all.error_count)} (${percent(all.error_rate)})`],
    ["Cost", money(all.total_cost)], ["Calls of no known price", number(all.unknown_cost_count)],
    ["Tokens in", number(all.total_prompt_tokens)], ["Tokens out", number(all.total_completion_tokens)],
    ["Sessions", number(all.unique_sessions)], ["Cache rate", percent(all.cache_hit_rate)], ["Mean wait", span(all.avg_queued_time)],
    ["Response time", three(all.response_time)], ["First token of streams", three(all.time_to_first_token)]]);
}

const seconds = (granularity) => (granularity === "hour" ? 3600 : 86400);
const cost = (point) => (point.total_cost === null ? null : Number(point.total_cost));
const moments = (points) => points.map((point) => Date.parse(point.start) / 1000);

// A line for each of the dearest, and one for all others together.
function costBy(points, split, by, granularity) {
  const times = moments(points), at = new Map(times.map((time, row) => [time, row])), values = new Map();
  for (const point of split) {
    const name = point.category ?? (point.total_requests ? `no ${by}` : null);
    if (name === null) continue;
    if (!values.has(name)) values.set(name, new Array(times.length).fill(0));
    values.get(name)[at.get(Date.parse(point.start) / 1000)] = cost(point);
  }
  const shown = [...values].map(([name, costs]) => ({ name, values: costs }));
  const rest = points.map((point, row) => Math.max(0, (cost(point) ?? 0) - shown.reduce((sum, line) => sum + (line.values[row] ?? 0), 0)));
  if (rest.some((value) => value > 1e-9)) shown.push({ name: "all others", values: rest });
  return chart(`Cost by ${by}`, times, shown, money, { step: seconds(granularity) });
}

function charts(points, step, split) {
  const times = moments(points);
  const line = (name, of) => ({ name, values: points.map(of) });
  const three = (of) => ["p50", "p95", "p99"].map((name) => line(name, (point) => of(point)[name]));
  return [
    chart("Cost over time", times, [line("cost_usd", cost)], money, { step, bars: true }),
    split,
    chart("Tokens over time", times, [line("input", (point) => point.total_prompt_tokens), line("output", (point) => point.total_completion_tokens), line("cached", (point) => point.cached_tokens)], number, { step }),
    chart("Calls and errors", times, [line("calls", (point) => point.total_requests), line("errors", (point) => point.error_count)], number, { step, bars: true }),
    chart("Response time", times, three((point) => point.response_time), span, { step }),
    chart("Time to first token", times, three((point) => point.time_to_first_token), span, { step }),
    chart("Cache rate", times, [line("percent", (point) => point.cache_hit_rate)], percent, { step }),
  ];
}

function costTable(shares, by) {
  const heads = [by, "calls", "errors", "input_tokens", "output_tokens", "cost_usd"];
  const rows = shares.map((one) => [one.category ?? `no ${by}`, one.total_requests, one.error_count, one.total_prompt_tokens, one.total_completion_tokens, one.total_cost]);
  return [h("h2", {}, `By ${by} `, h("button", { type: "button", "aria-label": `By ${by} as CSV`, onclick: () => csv(`usage-by-${by}.csv`, heads, rows) }, "CSV")),
    table(`By ${by}`, [[by, "id"], ["Calls", "num"], ["Errors", "num"], ["Tokens in", "num"], ["Tokens out", "num"], ["Cost", "num"]],
      rows.map(([name, calls, errors, input, output, cost]) => [name, number(calls), number(errors), number(input), number(output), money(cost)]), "Nothing to tell apart.")];
}
