/** The node's text, a face a line: "picture: x, y  x, y …", as nodes/face_points.py reads it. */

export const NAMES = [
  "left eye",
  "right eye",
  "nose",
  "left corner of the mouth",
  "right corner of the mouth",
];
const POINT = /[\s,;()[\]]+/;

/** The lines that hold faces, whole or begun: `{line, picture, points}`, counted from 0. */
export function faces(text) {
  const found = [];
  for (const [line, content] of text.split("\n").entries()) {
    const colon = content.lastIndexOf(":");
    const before = content.slice(0, Math.max(colon, 0)).trim();
    const picture = before ? Number(before) - 1 : 0;
    const numbers = content.slice(colon + 1).split(POINT).filter(Boolean).map(Number);
    if (!numbers.length || numbers.length > 2 * NAMES.length) continue;
    if (![picture, ...numbers].every(Number.isFinite)) continue;
    const points = [];
    for (let at = 0; at + 1 < numbers.length; at += 2) points.push(numbers.slice(at, at + 2));
    found.push({ line, picture, points });
  }
  return found;
}

/** The text with a face in its line, or in a new one; without points, the line goes. */
export function withFace(text, { line, picture, points }) {
  const lines = text.trim() ? text.split("\n") : [];
  const place = line ?? lines.length;
  const pairs = points.map(([x, y]) => `${short(x)}, ${short(y)}`).join("  ");
  lines.splice(place, 1, ...(points.length ? [(picture ? `${picture + 1}: ` : "") + pairs] : []));
  return lines.join("\n");
}

/** Whether left and right were taken as the person's own. */
export function exchanged([left, right, , ...mouth]) {
  const middle = (a, b, axis) => (a[axis] + b[axis]) / 2;
  const across = [right[0] - left[0], right[1] - left[1]];
  const down = [0, 1].map((axis) => middle(...mouth, axis) - middle(left, right, axis));
  return across[0] * down[1] - across[1] * down[0] < 0;
}

const short = (value) => String(Math.round(10 * value) / 10);
