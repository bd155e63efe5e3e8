/** Numbers, sizes, times and paths as a person reads them. */

const whole = new Intl.NumberFormat("en-GB");
const short = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 2 });
const when = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

export const number = (value) => whole.format(value);

/** `1 photo`, `1,204 photos`. */
export const photos = (count) => `${number(count)} ${count === 1 ? "photo" : "photos"}`;

/** `3.4 MB`, in thousands, as file managers show it. */
export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 999.5 && unit < units.length - 1; unit++) count /= 1000;
  return `${unit && count < 10 ? count.toFixed(1) : number(Math.round(count))} ${units[unit]}`;
}

export const pace = (perMinute) =>
  `${perMinute < 10 ? short.format(perMinute) : number(Math.round(perMinute))} a minute`;

/** `40 s`, `12 min`, `3 h 20 min`. */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${number(Math.floor(minutes / 60))} h${rest ? ` ${rest} min` : ""}`;
}

export const date = (seconds) => when.format(new Date(seconds * 1000));

/** A moment as part of a folder's name, which sorts and which every system takes. */
export function stamp(moment = new Date()) {
  const two = (value) => String(value).padStart(2, "0");
  const day = [moment.getFullYear(), moment.getMonth() + 1, moment.getDate()].map(two).join("-");
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(".");
  return `${day} ${time}`;
}

/** The last part of a path of the server's system, whichever that is. */
export const lastPart = (path) => path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;

/** A path below another, in the manner of the server's system. */
export function below(folder, name) {
  const separator = folder.includes("\\") ? "\\" : "/";
  return folder.endsWith(separator) ? folder + name : folder + separator + name;
}
