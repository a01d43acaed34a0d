// Numbers and times for people. What is not known is a dash, never 0.

export const UNKNOWN = "–";
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export function span(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export const milliseconds = (ms) => span(known(ms) ? ms / 1000 : null);

export function money(dollars) {
  if (!known(dollars)) return UNKNOWN;
  const value = Number(dollars);
  return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: value !== 0 && Math.abs(value) < 1 ? 6 : 2 })}`;
}

export const number = (value) => (known(value) ? Number(value).toLocaleString("en", { maximumFractionDigits: 2 }) : UNKNOWN);
export const percent = (value) => (known(value) ? `${Number(value).toFixed(1)} %` : UNKNOWN);
export const when = (text) => (text ? new Date(text).toLocaleString() : UNKNOWN);
