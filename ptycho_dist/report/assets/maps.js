"use strict";
/* Maps: numbers packed into PNG pictures, unpacked to float values and coloured here. */

class ColourTable {
  constructor(base64) {
    this.bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  }

  css(share) {
    const at = 3 * Math.max(0, Math.min(255, Math.round(255 * share)));
    return `rgb(${this.bytes[at]},${this.bytes[at + 1]},${this.bytes[at + 2]})`;
  }

  gradient() {
    const stops = [];
    for (let step = 0; step <= 16; step++) stops.push(this.css(step / 16));
    return `linear-gradient(to right, ${stops.join(",")})`;
  }
}

function colourTables(texts) {
  return Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [name, Object.assign(new ColourTable(text), { name })]),
  );
}

function decodeNumbers(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

async function readPixels(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

class MapImage {
  constructor(record) {
    Object.assign(this, record);
    this.picture = null;
    this.ready = null;
  }

  /* Unpack the values once; resolves to this map. */
  load() {
    if (!this.ready) this.ready = readPixels(this.png).then((pixels) => this.unpack(pixels.data));
    return this.ready;
  }

  unpack(data) {
    const count = this.rows * this.columns;
    this.values = new Float32Array(count);
    const span = this.high - this.low;
    for (let i = 0; i < count; i++) {
      const red = data[4 * i];
      if (this.bits === 16) {
        const known = data[4 * i + 2] > 0;
        this.values[i] = known ? this.low + (span * (256 * red + data[4 * i + 1])) / 65535 : NaN;
      } else {
        this.values[i] = red > 0 ? this.low + (span * (red - 1)) / 254 : NaN;
      }
    }
    return this;
  }

  /* Value at an object pixel (row, column); NaN outside. */
  at(y, x) {
    const row = Math.floor((y - this.corner[0]) / this.step);
    const column = Math.floor((x - this.corner[1]) / this.step);
    const inside = row >= 0 && row < this.rows && column >= 0 && column < this.columns;
    return inside && this.values ? this.values[row * this.columns + column] : NaN;
  }

  /* Whether a value may lie beyond what the picture holds: coarse pictures are cut off at both ends. */
  isCut(value) {
    return this.bits === 8 && (value >= this.high || value <= this.low);
  }

  coloured(limits, table) {
    const key = `${limits[0]} ${limits[1]} ${table.name}`;
    if (this.picture && this.key === key) return this.picture;
    const canvas = this.picture || document.createElement("canvas");
    canvas.width = this.columns;
    canvas.height = this.rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(this.columns, this.rows);
    const scale = 255 / (limits[1] - limits[0]);
    for (let i = 0; i < this.values.length; i++) {
      const value = this.values[i];
      if (Number.isNaN(value)) continue;
      const at = 3 * Math.max(0, Math.min(255, Math.round((value - limits[0]) * scale)));
      image.data[4 * i] = table.bytes[at];
      image.data[4 * i + 1] = table.bytes[at + 1];
      image.data[4 * i + 2] = table.bytes[at + 2];
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    this.picture = canvas;
    this.key = key;
    return canvas;
  }
}

/* Edges of the true pixels of a mask, as a path in pixels of the mask. */
async function outlineOf(address) {
  const pixels = await readPixels(address);
  const { width, height, data } = pixels;
  const inside = (row, column) =>
    row >= 0 && row < height && column >= 0 && column < width && data[4 * (row * width + column)] > 127;
  const path = new Path2D();
  for (let row = 0; row <= height; row++) {
    for (let column = 0; column <= width; column++) {
      const here = inside(row, column);
      if (here !== inside(row - 1, column)) {
        path.moveTo(column, row);
        path.lineTo(column + 1, row);
      }
      if (here !== inside(row, column - 1)) {
        path.moveTo(column, row);
        path.lineTo(column, row + 1);
      }
    }
  }
  return path;
}

function lengthText(metres, digits = 3) {
  const units = [[1, "m"], [1e-3, "mm"], [1e-6, "\u00b5m"], [1e-9, "nm"], [1e-12, "pm"]];
  const size = Math.abs(metres);
  const [unit, name] = units.find(([one]) => size >= one * (1 - 1e-9)) || (size === 0 ? [1e-6, "\u00b5m"] : units[4]);
  return `${Number((metres / unit).toPrecision(digits))} ${name}`;
}

function roundLength(target) {
  const power = 10 ** Math.floor(Math.log10(target));
  return [5, 2, 1].map((factor) => factor * power).find((length) => length <= target * (1 + 1e-9));
}
