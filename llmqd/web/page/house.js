// The views Keys and budgets, Settings in force, and Health.
import { get } from "./api.js";
import { h, note, table, tiles } from "./dom.js";
import { money, number, span, when } from "./format.js";

const shown = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

// A daemon without client keys has no URLs for them; its description says so without an error.
async function where(path, described, signal) {
  return described.paths[path]?.get ? get(path, signal) : null;
}

export async function keys(place, { signal }) {
  place.append(h("h1", {}, "Keys and budgets"));
  const described = await get("/openapi.json", signal);
  const [budgets, made, used] = await Promise.all([where("/api/v1/budgets", described, signal), where("/api/v1/keys", described, signal), get("/api/v1/analytics/cost-breakdown?by=key&days=30", signal)]);
  const list = (title, found, empty) => {
    const rows = Array.isArray(found) ? found : found?.[title.toLowerCase()] ?? [];
    const names = [...new Set(rows.flatMap(Object.keys))];
    return [h("h2", {}, title), table(title, names.map((name) => [name.replaceAll("_", " ")]), rows.map((row) => names.map((name) => shown(row[name]))), empty)];
  };
  place.append(...list("Keys", made, "No client keys are kept here. Without [auth] everybody who reaches the daemon may call."),
    ...list("Budgets", budgets, "No budget is set."), h("h2", {}, "Spent by key in 30 days"),
    table("Spent by key in 30 days", [["Key"], ["Calls", "num"], ["Tokens", "num"], ["Cost", "num"]], used.map((one) => [one.category ?? "no key", number(one.total_requests), number(one.total_tokens), money(one.total_cost)]), "Nothing was spent."));
}

export async function settings(place, { signal }) {
  const config = await get("/config", signal);
  place.append(h("h1", {}, "Settings in force"), h("p", {}, config.source ? `From ${config.source}. ` : "No file: built-in defaults and the environment. ", "Secrets show only whether they are set."));
  for (const warning of config.warnings ?? []) place.append(h("p", { class: "bad" }, warning));
  for (const [section, value] of Object.entries(config)) {
    if (section === "source" || section === "warnings" || value === null || typeof value !== "object") continue;
    const parts = Array.isArray(value) ? value : [value];
    if (parts.length) place.append(h("h2", {}, section));
    parts.forEach((part, at) => {
      const caption = Array.isArray(value) ? `${section} ${part.name ?? at + 1}` : section;
      place.append(table(caption, [["Setting"], ["Value"]], Object.entries(part).map(([name, one]) => [name, shown(one)]), "No settings."));
    });
  }
}

export async function health(place, { signal }) {
  const found = await get("/health", signal);
  place.append(h("h1", {}, "Health"),
    tiles([["Status", found.status], ["Version", found.version], ["Up", span(found.uptime_seconds)], ["Store", found.store.ok ? "ok" : "failing"], ["Records on their way", number(found.store.records_behind)], ["Records lost", number(found.store.lost)]]),
    h("h2", {}, "Faults"), found.faults.length ? h("ul", {}, found.faults.map((fault) => h("li", { class: "bad" }, fault))) : note("Nothing is amiss."),
    h("h2", {}, "Upstreams"),
    table("Upstreams", [["Upstream"], ["Type"], ["Key"]], Object.entries(found.upstreams).map(([name, one]) => [name, one.type, one.key]), "No upstream is configured: add [[upstream]] to the configuration and reload."),
    h("p", { class: "note" }, `As of ${when(new Date().toISOString())}.`));
}
