// One message as in a chat: words shown, tools and thoughts folded, images as images.
import { h, link } from "./dom.js";
import { when } from "./format.js";

export function message(said, number) {
  return h("li", { class: `message ${said.role ?? "gone"}` },
    h("div", { class: "who" }, h("b", {}, said.role ?? "not kept"), number ? ` ${number}` : "", said.timestamp ? h("time", {}, ` ${when(said.timestamp)}`) : ""),
    said.parts ? said.parts.map(part) : h("p", { class: "note" }, "The words of this message are not kept (any more)."));
}

function part(one) {
  if (one.kind === "text") return h("div", { class: "words" }, one.text);
  if (one.kind === "reasoning") return h("details", {}, h("summary", {}, "Reasoning"), h("div", { class: "words" }, one.text));
  if (one.kind === "tool_call") return h("details", {}, h("summary", {}, `Tool call: ${one.name}`), h("pre", { tabindex: "0" }, pretty(one.arguments ?? "")));
  if (one.kind === "tool_result") return h("details", {}, h("summary", {}, `Tool result${one.name ? `: ${one.name}` : ""}`), h("pre", { tabindex: "0" }, one.text), (one.media ?? []).map(media));
  return media(one);
}

function media(one) {
  const what = `${one.type}${one.name ? ` ${one.name}` : ""}${one.size ? `, ${one.size.toLocaleString("en")} bytes` : ""}`;
  if (one.data && /^image\/(png|jpeg|gif|webp)$/.test(one.type)) return h("img", { src: `data:${one.type};base64,${one.data}`, alt: what });
  if (one.url && /^https?:/.test(one.url)) return h("p", {}, h("a", { href: one.url, rel: "noreferrer noopener", target: "_blank" }, what));
  return h("p", { class: "note" }, what);
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

export const sessionLink = (id) => (id ? link(`sessions/${encodeURIComponent(id)}`, id) : null);
