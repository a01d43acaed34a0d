// Lines and bars over time by uPlot, with the same figures as CSV and the picture as PNG. Times are UTC, as the API's.
import { csv, h, save } from "./dom.js";

const COLOURS = ["#3b7dd8", "#d9822b", "#2f9e62", "#c2417c", "#8a63d2", "#4aa3a2", "#a67c1b", "#d2554a", "#6b7a90", "#7a9a3a"];
const HEIGHT = 230;

// times: Unix seconds; lines: [{name, values}]; show: a value for people; step: seconds between two times.
export function chart(title, times, lines, show, { step, bars = false }) {
  const place = h("div", { class: "plot", role: "img", "aria-label": `${title}: ${lines.map((line) => line.name).join(", ")}` });
  const name = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  const figure = h("figure", {},
    h("figcaption", {}, h("h3", {}, title),
      h("button", { type: "button", "aria-label": `${title} as CSV`, onclick: () => csv(`${name}.csv`, ["time", ...lines.map((line) => line.name)],
        times.map((at, row) => [new Date(at * 1000).toISOString(), ...lines.map((line) => line.values[row])])) }, "CSV"),
      h("button", { type: "button", "aria-label": `${title} as PNG`, onclick: () => picture(place, title, lines, `${name}.png`) }, "PNG")),
    place);
  let plot;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (!width) return;
    if (plot) plot.setSize({ width, height: HEIGHT });
    else plot = new uPlot(options(width, times, lines, show, step, bars), [times, ...lines.map((line) => line.values)], place);
  }).observe(place);
  return figure;
}

function options(width, times, lines, show, step, bars) {
  const style = getComputedStyle(document.body);
  const ink = style.getPropertyValue("--dim"), grid = style.getPropertyValue("--line");
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, sans-serif" };
  const moment = (at) => new Date(at * 1000).toISOString();
  const short = step < 86400
    ? (at, before) => moment(at).slice(11, 16) + (before === undefined || moment(before).slice(0, 10) !== moment(at).slice(0, 10) ? `\n${moment(at).slice(5, 10)}` : "")
    : (at) => moment(at).slice(5, 10);
  return {
    width, height: HEIGHT, tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    legend: { markers: { width: 0, fill: (_, at) => COLOURS[(at - 1) % COLOURS.length] } },
    series: [
      { label: "", value: (_, at) => (at === null ? "" : `${moment(at).slice(0, step < 86400 ? 16 : 10).replace("T", " ")} UTC`) },
      ...lines.map((line, at) => {
        const colour = COLOURS[at % COLOURS.length];
        return { label: line.name, stroke: colour, width: 2, spanGaps: false, value: (_, value, __, row) => (row === null ? "" : show(value)),
          points: { show: !bars && times.length < 40, size: 5, fill: colour },
          ...(bars ? { paths: uPlot.paths.bars({ size: [0.6, 48] }), fill: `${colour}99` } : {}) };
      }),
    ],
    axes: [
      { ...axis, incrs: [3600, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000].filter((one) => one >= step), space: 62,
        values: (_, values) => values.map((at, row) => short(at, values[row - 1])) },
      { ...axis, size: 78, values: (_, values) => values.map(show) },
    ],
    scales: {
      x: { range: (_, low, high) => [low - step / 2, high + step / 2] },
      y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.1 : 1] },
    },
    cursor: { points: { show: !bars }, drag: { x: true, y: false } },
  };
}

// The drawing with its title above and the names of its lines below.
function picture(place, title, lines, name) {
  const drawn = place.querySelector("canvas");
  if (!drawn) return;
  const scale = drawn.width / drawn.clientWidth, line = 20 * scale, style = getComputedStyle(document.body);
  const canvas = h("canvas", { width: drawn.width, height: drawn.height + line * (2 + lines.length) });
  const pen = canvas.getContext("2d");
  pen.fillStyle = style.backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.font = `${14 * scale}px system-ui, sans-serif`;
  pen.fillStyle = style.color;
  pen.fillText(title, 8 * scale, line);
  pen.drawImage(drawn, 0, line * 1.5);
  lines.forEach((one, at) => {
    const y = drawn.height + line * (2 + at);
    pen.fillStyle = COLOURS[at % COLOURS.length];
    pen.fillRect(8 * scale, y, 10 * scale, 10 * scale);
    pen.fillStyle = style.color;
    pen.fillText(one.name, 24 * scale, y + 10 * scale);
  });
  canvas.toBlob((blob) => save(name, blob));
}
