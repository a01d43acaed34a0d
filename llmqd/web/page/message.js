// One message as in a chat: words shown, tools and thoughts folded, images as images.
import { get } from "./api.js";
import { h } from "./dom.js";
import { when } from "./format.js";

export function message(said, number) {
  return h("li", { class: `message ${said.role ?? "gone"}` },
    h("div", { class: "who" }, h("b", {}, said.role ?? "not kept"), number ? ` ${number}` : "", said.timestamp ? h("time", {}, ` ${when(said.timestamp)}`) : ""),
    said.parts ? said.parts.map(part) : h("p", { class: "note" }, "The words of this message are not kept (any more)."));
}

function part(one) {
  if (one.kind === "text") return h("div", { class: "words" }, one.text);
  if (one.kind === "reasoning") return folded("Reasoning", h("div", { class: "words" }, one.text));
  if (one.kind === "tool_call") return folded(`Tool call: ${one.name}`, block(pretty(one.arguments ?? "")));
  if (one.kind === "tool_result") return folded(`Tool result${one.name ? `: ${one.name}` : ""}`, block(one.text), (one.media ?? []).map(media));
  return media(one);
}

const folded = (title, ...inside) => h("details", {}, h("summary", {}, title), inside);
const block = (text) => h("pre", { tabindex: "0" }, text);

function media(one) {
  const what = `${one.type}${one.name ? ` ${one.name}` : ""}${one.size ? `, ${one.size.toLocaleString("en")} bytes` : ""}`;
  if (one.url && /^https?:/.test(one.url)) return h("p", {}, h("a", { href: one.url, rel: "noreferrer noopener", target: "_blank" }, what));
  const place = h("p", { class: "note" }, what);
  if (one.digest && /^image(\/(png|jpeg|gif|webp))?$/.test(one.type)) picture(place, one, what);
  return place;
}

// The messages only name a picture; a client key may not ask for its bytes, and then its name has to do.
async function picture(place, { digest, type }, what) {
  try {
    const { data } = await get(`/api/v1/media/${digest}`);
    place.replaceChildren(h("img", { src: `data:${type.includes("/") ? type : "image/png"};base64,${data}`, alt: what }));
  } catch { /* gone, or not for this reader */ }
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}
