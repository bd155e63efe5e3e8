/** Photos from this computer to the server: what was dropped or chosen, and its way there. */

import { stamp } from "./words.mjs";

const AT_ONCE = 3;

/** What was dropped, as `[{file, path}]` with folders walked through; call it inside the event. */
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  if (entries.length) return collect(entries);
  return [...transfer.files].map((file) => ({ file, path: file.name })).filter(isWanted);
}

/** What a file dialog gave, as `[{file, path}]`. */
export const chosen = (input) =>
  [...input.files]
    .map((file) => ({ file, path: file.webkitRelativePath || file.name }))
    .filter(isWanted);

/** A name for the folder that the server puts files into, and their paths in it. */
export function batch(files) {
  const [first] = files[0].path.split("/");
  const isOneFolder = files.every(({ path }) => path.startsWith(`${first}/`));
  const inside = ({ file, path }) => ({ file, path: path.slice(first.length + 1) });
  return {
    name: `${isOneFolder ? first : "Photos"} ${stamp()}`,
    files: isOneFolder ? files.map(inside) : files,
  };
}

/**
 * Send files, three at once, and return `{folder, refused: [[path, reason]]}`.
 *
 * A file that the server will not have is refused alone; anything else ends the upload.
 * `tell({done, count, bytes, total})` is called whenever one has arrived.
 */
export async function upload(server, name, files, tell, stop) {
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const told = { done: 0, count: files.length, bytes: 0, total };
  const refused = [];
  let folder = null;
  const waiting = files.values();
  const work = async () => {
    for (const { file, path } of waiting) {
      try {
        ({ folder } = await server.send("/drop", { batch: name, path }, file, stop.signal));
      } catch (error) {
        if (error.status !== 400) throw error;
        refused.push([path, error.message]);
      }
      told.done += 1;
      told.bytes += file.size;
      tell(told);
    }
  };
  tell(told);
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    stop.abort(); // the other two
    throw error;
  }
  return { folder, refused };
}

async function collect(entries) {
  const found = [];
  for (const entry of entries) {
    if (entry.isDirectory) found.push(...(await collect(await children(entry))));
    else {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    }
  }
  return found.filter(isWanted);
}

/** All of a folder: browsers hand it out a hundred at a time. */
async function children(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

/** The server knows which formats are photos; what cannot be one is not sent at all. */
function isWanted({ file }) {
  return !file.name.startsWith(".") && (!file.type || file.type.startsWith("image/"));
}
