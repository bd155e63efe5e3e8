/** Where a picture lies on its stage: fitted, or zoomed about a point and panned, never lost. */

const MOST = 32; // screen pixels a picture pixel

export class View {
  zoom = 1;
  x = 0;
  y = 0;
  stage = { width: 1, height: 1 };
  picture = { width: 1, height: 1 };

  /** The picture's size on the stage at zoom 1. */
  get box() {
    const { stage, picture } = this;
    const scale = Math.min(stage.width / picture.width, stage.height / picture.height);
    return { width: picture.width * scale, height: picture.height * scale };
  }

  /** Screen points a pixel of the picture. */
  get scale() {
    return (this.box.width * this.zoom) / this.picture.width;
  }

  set scale(scale) {
    const { width, height } = this.stage;
    this.zoomAt(scale / this.scale, width / 2, height / 2);
  }

  resize(stage, picture) {
    Object.assign(this, { stage, picture });
    this.#settle();
  }

  fit() {
    this.zoom = 1;
    this.#settle();
  }

  /** Make it larger by a factor; the point of the picture at (x, y) of the stage stays there. */
  zoomAt(factor, x, y) {
    const actual = this.picture.width / this.box.width; // the zoom of 1:1, below 1 if it is small
    const least = Math.min(1, actual / devicePixelRatio);
    const zoom = Math.min(Math.max(1, MOST * actual), Math.max(least, this.zoom * factor));
    this.x = x - ((x - this.x) * zoom) / this.zoom;
    this.y = y - ((y - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#settle();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.#settle();
  }

  #settle() {
    this.x = settled(this.x, this.stage.width, this.box.width * this.zoom);
    this.y = settled(this.y, this.stage.height, this.box.height * this.zoom);
  }
}

/** Centred where there is room, else without a gap at either end. */
const settled = (at, room, length) =>
  length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at));
