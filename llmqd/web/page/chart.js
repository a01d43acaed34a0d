// Lines over time by uPlot, with the same figures as CSV and the picture as PNG.
import { csv, h, save } from "./dom.js";

const COLOURS = ["#3b7dd8", "#d9822b", "#2f9e62", "#c2417c", "#8a63d2", "#4aa3a2", "#a67c1b", "#d2554a", "#6b7a90", "#7a9a3a"];

// times: Unix seconds; lines: [{name, values}]; show: a value for people.
export function chart(title, times, lines, show) {
  const place = h("div", { class: "plot", role: "img", "aria-label": `${title}: ${lines.map((line) => line.name).join(", ")}` });
  const name = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  const figure = h("figure", {},
    h("figcaption", {}, h("h3", {}, title),
      h("button", { type: "button", "aria-label": `${title} as CSV`, onclick: () => csv(`${name}.csv`, ["time", ...lines.map((line) => line.name)],
        times.map((at, row) => [new Date(at * 1000).toISOString(), ...lines.map((line) => line.values[row])])) }, "CSV"),
      h("button", { type: "button", "aria-label": `${title} as PNG`, onclick: () => picture(place, `${name}.png`) }, "PNG")),
    place);
  new ResizeObserver(() => draw()).observe(place);
  let plot;
  function draw() {
    const width = Math.floor(place.clientWidth);
    if (!width) return;
    if (plot) { plot.setSize({ width, height: 220 }); return; }
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--dim"), grid = style.getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    plot = new uPlot({
      width, height: 220,
      series: [{}, ...lines.map((line, at) => ({ label: line.name, stroke: COLOURS[at % COLOURS.length], width: 2,
        points: { show: times.length < 40 }, value: (_, value) => show(value) }))],
      axes: [axis, { ...axis, size: 76, values: (_, values) => values.map(show) }],
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.1 : 1] } },
    }, [times, ...lines.map((line) => line.values)], place);
  }
  return figure;
}

function picture(place, name) {
  const drawn = place.querySelector("canvas");
  if (!drawn) return;
  const canvas = h("canvas", { width: drawn.width, height: drawn.height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(document.body).backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(drawn, 0, 0);
  canvas.toBlob((blob) => save(name, blob));
}
