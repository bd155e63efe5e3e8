/** RestoreFlow in the browser: the tab of photo jobs, and what two nodes show and take on them. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { BeforeAfter } from "./compare/node.mjs";
import { FacePoints } from "./faces/node.mjs";
import { Tab } from "./jobs/tab.mjs";

const shown = [new BeforeAfter(app, api), new FacePoints(app, api)];

function style() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("restoreflow.css", import.meta.url).href;
  document.head.append(link);
}

/** The canvas of ComfyUI 0.3.75 draws inputs that are declared hidden, as empty boxes. */
function hideForOldCanvas(node) {
  if (!node.comfyClass?.startsWith("RestoreFlow")) return;
  const hidden = (node.widgets ?? []).filter((widget) => widget.options?.hidden);
  for (const widget of hidden) widget.hidden = true;
  if (hidden.length) node.setSize(node.computeSize());
}

app.registerExtension({
  name: "RestoreFlow",
  setup() {
    style();
    const tab = new Tab(app, api);
    app.extensionManager.registerSidebarTab({
      id: "restoreflow.jobs",
      icon: "pi pi-images",
      title: "Photo jobs",
      tooltip: "Photo jobs",
      type: "custom",
      render: (place) => tab.render(place),
      destroy: () => tab.destroy(),
    });
  },
  nodeCreated(node) {
    hideForOldCanvas(node);
    for (const one of shown) one.created(node);
  },
  loadedGraphNode(node) {
    for (const one of shown) one.loaded(node);
  },
});
