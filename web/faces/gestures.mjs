/** Pointers, wheel and keys on a photo, as what they mean for a marker and its points. */

import { captureWheel, hearing, zoomOf } from "../stage.mjs";

const STILL = 4; // points of the screen by which a click may stray
const STEP = 1; // points of the screen a key press moves a point or the cross
const STRIDE = 10; // with Shift

/** Places are those of the stage, also where the front end shows the stage scaled. */
export function listen(stage, marker) {
  let press = null;

  const { place, on } = hearing(stage);

  on("pointerdown", (event) => {
    if (event.button > 1) return false;
    stage.setPointerCapture(event.pointerId);
    const point = event.button === 0 ? event.target.closest(".rf-point") : null;
    press = { point, from: place(event), last: place(event), moved: false, pans: event.button === 1 };
    (point ?? stage).focus({ preventScroll: true });
  });

  on("pointermove", (event) => {
    if (!press) return false;
    const { x, y } = place(event);
    press.moved ||= Math.hypot(x - press.from.x, y - press.from.y) > STILL;
    if (!press.moved) return;
    if (press.point) marker.drag(press.point, x, y);
    else marker.pan(x - press.last.x, y - press.last.y);
    press.last = { x, y };
  });

  on("pointerup", () => {
    const { point, from, moved, pans } = press ?? { moved: true };
    press = null;
    if (point && moved) marker.drop();
    // Points of a small face lie under each other's discs: a click there is for the next point.
    else if (!moved && !pans && (!point || marker.begun)) marker.pick(from.x, from.y);
  });
  on("pointercancel", () => (press = null));

  const wheel = (event) => {
    // A wheel that merely passes zooms the canvas; a pinch comes with Ctrl.
    if (!stage.contains(document.activeElement) && !event.ctrlKey) return false;
    const { x, y } = place(event);
    marker.zoomAt(zoomOf(event), x, y);
  };
  on("wheel", wheel, { passive: false });

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const keys = {
    Enter: (point) => point ?? marker.pickAtCross(),
    " ": (point) => point ?? marker.pickAtCross(),
    Delete: (point) => (point ? marker.removeFace() : marker.removePoint()),
    Backspace: () => marker.removePoint(),
    PageUp: () => marker.page(-1),
    PageDown: () => marker.page(1),
    "+": () => marker.zoom(1.5),
    "-": () => marker.zoom(1 / 1.5),
    0: () => marker.fit(),
  };
  on("keydown", (event) => {
    const point = event.target.closest(".rf-point");
    if (event.ctrlKey || event.metaKey) return false; // the front end's, such as its own Undo
    const arrow = arrows[event.key];
    const by = event.shiftKey ? STRIDE : STEP;
    if (arrow && point) return void marker.nudge(point, by * arrow[0], by * arrow[1]);
    if (arrow) return void marker.moveCross(by * arrow[0], by * arrow[1]);
    return keys[event.key] ? void keys[event.key](point) : false;
  });

  stage.addEventListener("focusin", () => captureWheel(stage, true));
  stage.addEventListener("focusout", () => captureWheel(stage, false));
  stage.addEventListener("focus", () => marker.showCross(!press && stage.matches(":focus-visible")));
  stage.addEventListener("blur", () => marker.showCross(false));
}
