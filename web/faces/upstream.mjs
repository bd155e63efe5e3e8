/** What flows into a node: where an input comes from, and a digest of all that leads there. */

const CONTROL = "control_after_generate"; // changes the widget before it after every run
const SHOWN = "$$"; // how the front end's widgets begin that show a preview or a text

/** The node that an input is wired to, by name or as the first; null without one. */
export function origin(node, name = null) {
  const slot = node.inputs?.find((input) => name === null || input.name === name);
  const link = slot?.link == null ? null : node.graph?.getLink?.(slot.link);
  return link ? (node.graph.getNodeById(link.origin_id) ?? null) : null;
}

/** A text that changes when anything before an input of a node does: nodes, wires, widgets. */
export function digest(node, name) {
  const slots = node.inputs?.filter((input) => input.name === name);
  const seen = new Set();
  const found = [wires(node, slots)];
  const visit = (from, inputs) => {
    for (const { link } of inputs ?? []) {
      const wire = link == null ? null : from.graph?.getLink?.(link);
      if (!wire) continue;
      const before = from.graph.getNodeById(wire.origin_id);
      if (before) add(before);
      // A wire into the node's own subgraph: what lies outside counts as a whole.
      else if (from.graph === node.graph) add(...(node.graph.rootGraph?._nodes ?? []));
    }
  };
  const add = (...nodes) => {
    for (const one of nodes) {
      if (one === node || seen.has(one)) continue;
      seen.add(one);
      found.push([one.type, one.mode, settings(one), wires(one, one.inputs)]);
      if (one.subgraph && one.subgraph !== node.graph) add(...one.subgraph._nodes);
      visit(one, one.inputs);
    }
  };
  visit(node, slots);
  return JSON.stringify(found);
}

/** Where inputs come from. */
function wires(node, inputs) {
  return (inputs ?? []).map(({ link }) => {
    const wire = link == null ? null : node.graph?.getLink?.(link);
    return wire ? [wire.origin_id, wire.origin_slot] : null;
  });
}

/** The values of widgets that stay from run to run. */
function settings({ widgets = [] }) {
  const kept = widgets.filter(
    ({ name, serialize, options }, at) =>
      name !== CONTROL &&
      !name.startsWith(SHOWN) &&
      widgets[at + 1]?.name !== CONTROL &&
      serialize !== false &&
      options?.serialize !== false,
  );
  return kept.map(({ name, value }) => [name, value]);
}
