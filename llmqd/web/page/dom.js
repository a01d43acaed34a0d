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

// heads: [[text, "num"?]]; rows: arrays of nodes or values. A table scrolls sideways on a narrow screen.
export function table(caption, heads, rows, empty) {
  if (!rows.length) return note(empty);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
      h("tbody", {}, rows.map((row) =>
        h("tr", {}, row.map((value, at) => h("td", { class: heads[at][1] }, value ?? "–")))))));
}

export const note = (text) => h("p", { class: "note" }, text);

export function tiles(values) {
  return h("dl", { class: "tiles" },
    values.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));
}

export const link = (to, text) => h("a", { href: `#/${to}` }, text);

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
