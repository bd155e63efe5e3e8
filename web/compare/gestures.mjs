/** Pointers, wheel and keys on a stage, as what they mean for a slider and its view. */

import { captureWheel, hearing, zoomOf } from "../stage.mjs";

const STEP = 2; // per cent a key press
const STRIDE = 10; // with Shift

/**
 * `slider` is moved by `moveTo(percent)` and `moveBy(percent)`, its view by `zoomAt(factor, x, y)`,
 * `pan(x, y)`, `reset()` and `actual()`, its pages by `page(step)`. Points are those of the stage,
 * also where the front end shows the stage scaled.
 */
export function listen(stage, slider) {
  const pointers = new Map();
  let space = false;
  let panning = false;

  const { place: point, on } = hearing(stage);
  const move = (event) => slider.moveTo((100 * point(event).x) / stage.clientWidth);

  on("pointerdown", (event) => {
    if (event.button > 1) return false;
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
    pointers.set(event.pointerId, point(event));
    panning = event.button === 1 || space || event.altKey;
    if (!panning && pointers.size === 1) move(event);
  });

  on("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return false;
    const now = point(event);
    if (pointers.size === 2) pinch(event.pointerId, before, now);
    else if (panning) slider.pan(now.x - before.x, now.y - before.y);
    else move(event);
    pointers.set(event.pointerId, now);
  });

  for (const type of ["pointerup", "pointercancel"]) {
    on(type, (event) => pointers.delete(event.pointerId));
  }

  function pinch(id, before, now) {
    const [, other] = [...pointers].find(([key]) => key !== id);
    const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y);
    slider.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    const factor = apart(now) / Math.max(1, apart(before));
    slider.zoomAt(factor, (now.x + other.x) / 2, (now.y + other.y) / 2);
  }

  on("dblclick", () => slider.reset());

  const wheel = (event) => {
    // A wheel that merely passes scrolls the list or zooms the canvas; a pinch comes with Ctrl.
    if (document.activeElement !== stage && !event.ctrlKey) return false;
    const { x, y } = point(event);
    slider.zoomAt(zoomOf(event), x, y);
  };
  on("wheel", wheel, { passive: false });

  const keys = {
    ArrowLeft: (event) => slider.moveBy(event.shiftKey ? -STRIDE : -STEP),
    ArrowRight: (event) => slider.moveBy(event.shiftKey ? STRIDE : STEP),
    Home: () => slider.moveTo(0),
    End: () => slider.moveTo(100),
    PageUp: () => slider.page(-1),
    PageDown: () => slider.page(1),
    "+": () => slider.zoomAt(1.25, stage.clientWidth / 2, stage.clientHeight / 2),
    "-": () => slider.zoomAt(0.8, stage.clientWidth / 2, stage.clientHeight / 2),
    0: () => slider.reset(),
    1: () => slider.actual(),
    " ": () => (space = true),
  };
  on("keydown", (event) => {
    const handle = !event.ctrlKey && !event.metaKey && keys[event.key];
    return handle ? void handle(event) : false;
  });
  on("keyup", (event) => {
    if (event.key !== " ") return false;
    space = false;
  });
  const capture = (focused) => {
    space = false;
    captureWheel(stage, focused);
  };
  stage.addEventListener("focus", () => capture(true));
  stage.addEventListener("blur", () => capture(false));
}
