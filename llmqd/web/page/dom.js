// Builds elements. Text is always text: what clients said can never become markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// heads: [[text, kind?]], kind "num", "id" or "wide"; rows: arrays of nodes or values. On a narrow screen each row
// becomes a card (style.css), whose cells name their head; the roles keep it a table for those who hear it.
export function table(caption, heads, rows, empty) {
  if (!rows.length) return note(empty);
  const body = h("tbody", { role: "rowgroup" });
  body.append(...rows.map((row) => tableRow(heads, row)));
  return frame(caption, heads, body);
}

export function tableRow(heads, row) {
  return h("tr", { role: "row" }, row.map((value, at) => h("td", { role: "cell", class: heads[at][1], "data-head": heads[at][0] }, value ?? "–")));
}

export function frame(caption, heads, body) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table" },
      h("caption", {}, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map(([text, kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, text)))),
      body));
}

// Names with their values, side by side.
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.map(([name, value]) =>
    h("div", { class: typeof value === "object" && value !== null ? "deep" : null }, h("dt", {}, breakable(name)), h("dd", {}, value ?? "–"))));
}

// A long_name may be broken behind each underscore.
const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, h("wbr")]);

// Brings the children of an element in line with the items, and leaves alone what stays: no click, choice or focus is
// lost to news. make(item): { element, update(item) }.
export function keyed(parent, kept, items, key, make) {
  const wanted = new Set(items.map(key));
  for (const [id, one] of kept) {
    if (wanted.has(id)) continue;
    one.element.remove();
    kept.delete(id);
  }
  items.forEach((item, at) => {
    const id = key(item);
    if (!kept.has(id)) kept.set(id, make(item));
    const one = kept.get(id);
    one.update(item);
    if (parent.children[at] === one.element) return;
    const held = one.element.contains(document.activeElement) ? document.activeElement : null;
    parent.insertBefore(one.element, parent.children[at] ?? null);
    held?.focus({ preventScroll: true });
  });
}

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const note = (text) => h("p", { class: "note" }, text);

export function tiles(values) {
  return h("dl", { class: "tiles" },
    values.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));
}

export const link = (to, text) => h("a", { href: `#/${to}` }, text);
export const callLink = (id) => link(`calls/${encodeURIComponent(id)}`, id);
export const sessionLink = (id) => (id ? link(`sessions/${encodeURIComponent(id)}`, id) : null);

let clearing;
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => { place.textContent = ""; }, 6000);
}

export function save(name, blob) {
  const anchor = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}

export function csv(name, heads, rows) {
  const field = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formulas in spreadsheets
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [heads, ...rows].map((row) => row.map(field).join(","));
  save(name, new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
}
