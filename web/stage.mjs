/** What every stage of pictures hears alike. */

/**
 * `place(event)` is where an event is, in points of the stage, also where the front end shows the
 * stage scaled. `on(type, handle)` keeps what `handle` takes from the canvas below; it leaves an
 * event to that by returning false.
 */
export function hearing(stage) {
  const scale = () => stage.clientWidth / stage.getBoundingClientRect().width;
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: (event.clientX - box.left) * scale(), y: (event.clientY - box.top) * scale() };
  };
  const on = (type, handle, options) =>
    stage.addEventListener(
      type,
      (event) => {
        if (handle(event) === false) return;
        event.preventDefault();
        event.stopPropagation(); // the canvas below listens, too
      },
      options,
    );
  return { place, on };
}

/** By how much a turn of the wheel, or a pinch (which comes with Ctrl), enlarges. */
export function zoomOf(wheel) {
  return Math.exp(-wheel.deltaY * (wheel.ctrlKey ? 0.01 : 0.0015));
}

/** Let a focused stage have the wheel: else Nodes 2.0 give it to the canvas. */
export function captureWheel(stage, focused) {
  stage.dataset.captureWheel = String(focused);
}
