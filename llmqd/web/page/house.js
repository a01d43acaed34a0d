// The views Keys and budgets, Settings in force, and Health.
import { described, get } from "./api.js";
import { facts, h, note, table, tiles } from "./dom.js";
import { money, number, percent, span, when } from "./format.js";

const KEYS = [["Key", "id"], ["State"], ["Priority", "num"], ["Share", "num"], ["Calls a minute", "num"], ["Tokens a minute", "num"], ["Models"], ["Upstreams"], ["Last used", "time"], ["Expires", "time"]];
const BUDGETS = [["Budget", "id"], ["Of"], ["Used", "wide"], ["Spent", "num"], ["Limit", "num"], ["Left", "num"], ["Per"], ["State"], ["Begins anew", "time"]];

export async function keys(place, { signal, role }) {
  place.append(h("h1", {}, "Keys and budgets"));
  const admin = role !== "client";
  const [made, budgets, used] = await Promise.all([
    admin ? described("/api/v1/keys", signal) : null,
    admin ? described("/api/v1/budgets?limit=200", signal) : get("/api/v1/budgets?limit=200", signal).catch(() => null),
    admin ? get("/api/v1/analytics/cost-breakdown?by=key&days=30&limit=200", signal) : null]);
  if (admin) {
    place.append(h("h2", {}, "Keys"), table("Keys", KEYS, (made?.keys ?? []).map(keyRow),
      "No client key has been made. Without [auth] mode = \"keys\" everybody who reaches the daemon may call; llmqd keys create --name app makes a key."));
  }
  place.append(h("h2", {}, "Budgets"), table("Budgets", BUDGETS, (budgets?.budgets ?? []).map(budgetRow),
    "No budget is in use: none is set, or nobody it is for has called in its present period."));
  if (budgets?.total > budgets?.budgets.length) place.append(note(`The ${budgets.budgets.length} most used of ${number(budgets.total)} are shown; GET /api/v1/budgets has the rest.`));
  if (budgets && !budgets.complete) place.append(note("The ledger has not told all yet: what was spent before the start is still being added up."));
  if (used) {
    place.append(h("h2", {}, "Spent by key in 30 days"), table("Spent by key in 30 days", [["Key", "id"], ["Calls", "num"], ["Errors", "num"], ["Tokens", "num"], ["Cost", "num"]],
      used.map((one) => [one.category ?? "no key", number(one.total_requests), number(one.error_count), number(one.total_tokens), money(one.total_cost)]), "Nothing was called in 30 days."));
  }
}

function keyRow(key) {
  const any = (list) => (list.length ? list.join(", ") : "all");
  const state = h("span", { class: key.state === "active" ? "good" : "bad" }, key.state);
  return [key.name, state, key.priority ?? "–", number(key.weight), limit(key.rpm), limit(key.tpm), any(key.models), any(key.upstreams), when(key.last_used), when(key.expires)];
}

const limit = (value) => (value ? number(value) : "no limit");

function budgetRow(one) {
  const amount = one.unit === "usd" ? money : number;
  const used = h("meter", { min: "0", max: "100", high: String(one.alert_at), value: String(Math.min(one.used_percent, 100)), "aria-label": `${one.name}: ${percent(one.used_percent)} used` });
  const state = h("span", { class: one.state === "exceeded" ? "bad" : one.state === "ok" ? "good" : null }, one.state);
  return [one.name, one.by === "all" ? "all calls" : `${one.by} ${one.value}`, h("div", {}, used, percent(one.used_percent)), amount(one.spent), amount(one.limit), amount(one.remaining),
    one.period === "life" ? "its life" : one.period, state, one.resets_at ? when(one.resets_at) : "never"];
}

export async function settings(place, { signal }) {
  const config = await get("/config", signal);
  place.append(h("h1", {}, "Settings in force"), h("p", { class: "path" }, config.source ? `From ${config.source}. ` : "No file: built-in defaults and the environment. ", "Secrets show only whether they are set."));
  for (const warning of config.warnings ?? []) place.append(h("p", { class: "bad" }, warning));
  const cards = [];
  for (const [section, value] of Object.entries(config)) {
    if (section === "source" || section === "warnings" || value === null || typeof value !== "object") continue;
    const parts = Array.isArray(value) ? value : [value];
    parts.forEach((part, at) => cards.push(h("section", { class: "card" },
      h("h2", {}, Array.isArray(value) ? `[[${section.replace(/s$/, "")}]] ${part.name ?? at + 1}` : `[${section}]`), facts(Object.entries(part).map(([name, one]) => [name, setting(one)])))));
  }
  place.append(h("div", { class: "cards" }, cards));
}

// A value as it would stand in the file; what has parts of its own is a list below.
function setting(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "object") return String(value);
  const parts = Object.values(value);
  if (!parts.length) return "none";
  if (Object.keys(value).join() === "set") return value.set ? "set" : "not set";
  if (Array.isArray(value)) return parts.every((one) => typeof one !== "object") ? value.join(", ") : value.map(setting);
  return facts(Object.entries(value).map(([name, one]) => [name, setting(one)]));
}

export async function health(place, { signal }) {
  const found = await get("/health", signal);
  place.append(h("h1", {}, "Health"),
    tiles([["Status", h("span", { class: found.status === "ok" ? "good" : "bad" }, found.status)], ["Version", found.version], ["Up", span(found.uptime_seconds)], ["Store", found.store.ok ? "ok" : "failing"],
      ["Records on their way", number(found.store.records_behind)], ["Journal", `${number(found.store.journal_bytes)} bytes`], ["Records lost", number(found.store.lost)]]),
    h("h2", {}, "Faults"), found.faults.length ? h("ul", {}, found.faults.map((fault) => h("li", { class: "bad" }, fault))) : note("Nothing is amiss."),
    h("h2", {}, "Upstreams"),
    table("Upstreams", [["Upstream", "id"], ["Type"], ["Key"]], Object.entries(found.upstreams).map(([name, one]) => [name, one.type, one.key]), "No upstream is configured: add [[upstream]] to the configuration and reload."),
    h("h2", {}, "Lanes"),
    table("Lanes", [["Lane", "id"], ["Waiting", "num"], ["Running", "num"], ["Requests a minute", "num"]], found.lanes.map((lane) => [lane.lane, number(lane.waiting), number(lane.running), limit(lane.requests_per_minute)]), "No lane yet."),
    note(`As of ${when(new Date().toISOString())}.`));
}
