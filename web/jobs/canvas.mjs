/** The graph on the canvas: whether a job can be made of it, its snapshot, and the two nodes. */

const JOB_PHOTO = "RestoreFlowJobPhoto";
const SAVE = "RestoreFlowSaveRestoredPhoto";
const NEEDED = { [JOB_PHOTO]: "Job Photo", [SAVE]: "Save Restored Photo" };
const OFF = [2, 4]; // muted, bypassed
const GAP = 80;

export class Canvas {
  constructor(app) {
    this.app = app;
  }

  get root() {
    return this.app.graph.rootGraph ?? this.app.graph;
  }

  /** The types of the needed nodes that are not there, or switched off. */
  missing() {
    const there = new Set([...active(this.root)].map((node) => node.type));
    return Object.keys(NEEDED).filter((type) => !there.has(type));
  }

  /** Whether a node that saves has no picture yet. */
  get isUnwired() {
    const isOpen = (node) => node.inputs[slot(node.inputs, "IMAGE")]?.link == null;
    return [...active(this.root)].some((node) => node.type === SAVE && isOpen(node));
  }

  /** The graph in API form, and as the canvas saves it. */
  async snapshot() {
    const { output, workflow } = await this.app.graphToPrompt();
    return { graph: output, workflow };
  }

  /**
   * Add the missing nodes left and right of the graph and wire what is clear; one undo step.
   *
   * `covered` is the part of the window that hides the canvas, as a rectangle of the window.
   */
  add(folder, covered) {
    const { root } = this;
    const box = around(root);
    const types = this.missing();
    root.beforeChange?.();
    const added = types.map((type) => window.LiteGraph.createNode(type));
    for (const node of added) {
      const left = box.left - GAP - node.size[0];
      node.pos = [node.type === JOB_PHOTO ? left : box.right + GAP, box.top];
      root.add(node);
    }
    const [first, save] = [JOB_PHOTO, SAVE].map((type) => rooted(root, type)[0]);
    if (types.includes(JOB_PHOTO) && folder) setWidget(first, "folder", folder);
    if (types.includes(JOB_PHOTO)) takeOver(root, first);
    if (types.includes(SAVE) && save) follow(root, save);
    if (first && save) wire(first, save, "PHOTO");
    root.afterChange?.();
    this.app.canvas.selectItems(added);
    this.#fit(around(root), covered);
  }

  /** Show a part of the graph beside the cover, of which the front end's command knows nothing. */
  #fit({ left, top, right, bottom }, covered) {
    const { ds, canvas } = this.app.canvas;
    const window = canvas.getBoundingClientRect();
    const isLeft = covered.left < window.width / 2;
    const start = isLeft ? covered.right - window.left : 0;
    const end = isLeft ? window.width : covered.left - window.left;
    const [width, height] = [right - left + 2 * GAP, bottom - top + 2 * GAP];
    ds.scale = Math.min(1, (end - start) / width, window.height / height);
    ds.offset[0] = (start + end) / 2 / ds.scale - (left + right) / 2;
    ds.offset[1] = window.height / 2 / ds.scale - (top + bottom) / 2;
    this.app.canvas.setDirty(true, true);
  }
}

/** What a person calls those nodes. */
export const titles = (types) => types.map((type) => NEEDED[type]);

function* active(graph) {
  for (const node of graph._nodes) {
    if (OFF.includes(node.mode)) continue;
    yield node;
    if (node.subgraph) yield* active(node.subgraph);
  }
}

const rooted = (root, ...types) =>
  root._nodes.filter((node) => types.includes(node.type) && !OFF.includes(node.mode));

function around(root) {
  const nodes = root._nodes;
  if (!nodes.length) return { left: 0, top: 0, right: 0, bottom: 0 };
  return {
    left: Math.min(...nodes.map((node) => node.pos[0])),
    top: Math.min(...nodes.map((node) => node.pos[1])),
    right: Math.max(...nodes.map((node) => node.pos[0] + node.size[0])),
    bottom: Math.max(...nodes.map((node) => node.pos[1] + node.size[1])),
  };
}

const slot = (slots, type) => slots.findIndex((one) => one.type === type);

function wire(from, to, type) {
  const [output, input] = [slot(from.outputs, type), slot(to.inputs, type)];
  if (output >= 0 && input >= 0 && to.inputs[input].link == null) from.connect(output, to, input);
}

/** Where the graph has one Load Image, Job Photo feeds what it fed. */
function takeOver(root, first) {
  const loads = rooted(root, "LoadImage");
  if (loads.length !== 1) return;
  for (const output of loads[0].outputs) {
    const own = slot(first.outputs, output.type);
    for (const link of (output.links ?? []).map((id) => root.getLink(id))) {
      if (own >= 0) first.connect(own, root.getNodeById(link.target_id), link.target_slot);
    }
  }
}

/** Where the graph keeps or shows one picture, Save Restored Photo keeps it, too. */
function follow(root, save) {
  const ends = ["SaveImage", "PreviewImage"].map((type) => rooted(root, type));
  const [end] = ends.find((nodes) => nodes.length === 1) ?? [];
  const link = end && root.getLink(end.inputs[slot(end.inputs, "IMAGE")]?.link);
  if (!link) return;
  root.getNodeById(link.origin_id).connect(link.origin_slot, save, slot(save.inputs, "IMAGE"));
}

function setWidget(node, name, value) {
  const widget = node.widgets?.find((one) => one.name === name);
  if (!widget) return;
  widget.value = value;
  widget.callback?.(value);
}
