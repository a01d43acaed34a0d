// Numbers and times for people. What is not known is a dash, never 0.

export const UNKNOWN = "–";
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export function span(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export const milliseconds = (ms) => span(known(ms) ? ms / 1000 : null);

export function money(dollars) {
  if (!known(dollars)) return UNKNOWN;
  const value = Number(dollars);
  const small = value !== 0 && Math.abs(value) < 1;
  return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: small ? 6 : 2 })}`;
}

export const number = (value) => (known(value) ? Number(value).toLocaleString("en", { maximumFractionDigits: 2 }) : UNKNOWN);
export const percent = (value) => (known(value) ? `${Number(value).toFixed(1)} %` : UNKNOWN);

const two = (value) => String(value).padStart(2, "0");

export function clock(at) {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// In the time of the reader's place.
export function when(text) {
  if (!text) return UNKNOWN;
  const at = new Date(text);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}`;
}
