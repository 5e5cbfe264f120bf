// Figures in words.

const counts = new Intl.NumberFormat("en");

// 0.9731 -> "97.3%"; never rounds to 100% or 0% what is neither.
export function percent(value) {
  if (value === null || value === undefined) return "not a number";
  const text = (100 * value).toFixed(1);
  if (text === "100.0") return value < 1 ? ">99.9%" : "100%";
  if (text === "0.0") return value > 0 ? "<0.1%" : "0%";
  return `${text}%`;
}

export const count = (value) => counts.format(value);

export function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB"];
  let power = 0;
  while (power < units.length - 1 && bytes >= 1000 ** (power + 1)) power += 1;
  const value = bytes / 1000 ** power;
  return `${value.toFixed(power && value < 10 ? 1 : 0)} ${units[power]}`;
}

export const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

export const date = (seconds) => new Date(1000 * seconds).toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" });
