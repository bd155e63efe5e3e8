/** An element as a node's own widget, in the classic canvas and in Nodes 2.0. */

/** Add it, at least `least` points high, on a node of at least `size` points. */
export function addTo(node, app, element, { name, type, least, size }) {
  element.classList.add("widget-expands"); // how Nodes 2.0 of ComfyUI 0.3.75 grow
  element.addEventListener("wheel", (event) => passOn(app, event), { passive: false });
  const widget = node.addDOMWidget(name, type, element, {
    getMinHeight: () => least,
    hideOnZoom: false,
    serialize: false, // nothing in the prompt
  });
  widget.serialize = false; // nothing in the workflow's file
  node.setSize(size.map((side, axis) => Math.max(side, node.size[axis])));
}

/** Call `handle` with what the node shows after each of its runs. */
export function afterRuns(node, handle) {
  const before = node.onExecuted;
  node.onExecuted = (output) => {
    before?.call(node, output);
    handle(output);
  };
}

/** The same for a node that comes back: of another workflow's tab, or undone. */
export function keyOf(node) {
  return `${node.graph?.id} ${node.id}`;
}

/** A wheel that the element left alone zooms the canvas; Nodes 2.0 see to that by themselves. */
function passOn(app, event) {
  if (window.LiteGraph.vueNodesMode) return;
  event.preventDefault();
  app.canvas.processMouseWheel(event);
}
