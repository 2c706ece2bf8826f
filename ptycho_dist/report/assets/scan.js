"use strict";
/* Scan points over the object, coloured by what is known of each pattern, and patterns to look at. */

const BUCKETS = 48;

class ScanPoints {
  constructor(data, tables) {
    this.y = decodeNumbers(data.y);
    this.x = decodeNumbers(data.x);
    this.numbers = decodeNumbers(data.numbers);
    this.values = Object.fromEntries(data.values.map(([name, text]) => [name, decodeNumbers(text)]));
    this.shifts = data.shifts ? { y: decodeNumbers(data.shifts.y), x: decodeNumbers(data.shifts.x) } : null;
    this.typicalShift = data.shifts ? data.shifts.position_shift_rms_px : 0;
    this.table = tables.cividis;
  }

  /* Limits of the colours: percentiles 1 and 99 of what is known. */
  choose(name) {
    this.name = name;
    this.shown = this.values[name] || null;
    if (!this.shown) return;
    const known = this.shown.filter((value) => Number.isFinite(value)).sort();
    const at = (share) => known[Math.round(share * (known.length - 1))];
    const [low, high] = [at(0.01), at(0.99)];
    this.limits = high > low ? [low, high] : [low - 0.5, low + 0.5];
  }

  bucketOf(row) {
    if (!this.shown) return BUCKETS / 2;
    const value = this.shown[row];
    if (!Number.isFinite(value)) return -1;
    const share = (value - this.limits[0]) / (this.limits[1] - this.limits[0]);
    return Math.max(0, Math.min(BUCKETS - 1, Math.floor(share * BUCKETS)));
  }

  draw(context, panel) {
    const area = panel.width * panel.height;
    const radius = Math.max(1, Math.min(6, 0.3 * Math.sqrt(area / this.y.length) * Math.sqrt(panel.view.zoom)));
    const paths = Array.from({ length: BUCKETS }, () => new Path2D());
    for (let row = 0; row < this.y.length; row++) {
      const [y, x] = panel.toScreen(this.y[row], this.x[row]);
      if (y < -9 || x < -9 || y > panel.height + 9 || x > panel.width + 9) continue;
      const bucket = this.bucketOf(row);
      if (bucket < 0) continue;
      if (radius < 2) paths[bucket].rect(x - radius, y - radius, 2 * radius, 2 * radius);
      else {
        paths[bucket].moveTo(x + radius, y);
        paths[bucket].arc(x, y, radius, 0, 2 * Math.PI);
      }
    }
    paths.forEach((path, bucket) => {
      context.fillStyle = this.table.css((bucket + 0.5) / BUCKETS);
      context.fill(path);
    });
  }

  drawShifts(context, panel) {
    if (!this.shifts) return;
    const longest = Math.min(panel.width, panel.height) / 14;
    const size = longest / (2 * this.typicalShift);
    context.strokeStyle = "#d55e00";
    context.lineWidth = 1.2;
    context.beginPath();
    for (let row = 0; row < this.y.length; row++) {
      const [y, x] = panel.toScreen(this.y[row], this.x[row]);
      context.moveTo(x, y);
      context.lineTo(x + size * this.shifts.x[row], y + size * this.shifts.y[row]);
    }
    context.stroke();
  }

  nearest(y, x) {
    let best = -1;
    let least = Infinity;
    for (let row = 0; row < this.y.length; row++) {
      const distance = (this.y[row] - y) ** 2 + (this.x[row] - x) ** 2;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }
}

class PatternPair {
  constructor(element, patterns, tables) {
    this.element = element;
    this.patterns = patterns;
    this.table = tables.magma;
    this.canvases = element.querySelectorAll("canvas");
    this.caption = element.querySelector("figcaption");
    this.choice = element.querySelector("select");
    patterns.forEach((one, place) => {
      const error = one.error === null ? "" : `, error ${one.error.toPrecision(4)}`;
      this.choice.add(new Option(`${one.name ? `${one.name}: ` : ""}pattern ${one.number}${error}`, place));
    });
    this.choice.addEventListener("change", () => this.show(Number(this.choice.value)));
    for (const button of element.querySelectorAll("button")) {
      const place = patterns.findIndex((one) => one.name === button.dataset.name);
      button.hidden = place < 0;
      button.addEventListener("click", () => this.show(place));
    }
  }

  async show(place) {
    this.place = place;
    this.choice.value = place;
    const pattern = this.patterns[place];
    const maps = await Promise.all([pattern.measured, pattern.modelled].map((one) => new MapImage(one).load()));
    maps.forEach((map, index) => {
      const canvas = this.canvases[index];
      canvas.width = map.columns;
      canvas.height = map.rows;
      const context = canvas.getContext("2d");
      context.fillStyle = "#7a8f7a";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(map.coloured(map.limits, this.table), 0, 0);
    });
    const counts = (10 ** pattern.measured.limits[1] - 1).toPrecision(3);
    this.caption.textContent =
      `Pattern ${pattern.number}: counts as log10(1 + n), from 0 to ${Number(counts)}. Grey-green: masked pixels.`;
    if (this.onShow) this.onShow();
  }

  nearest(y, x) {
    const distances = this.patterns.map((one) => (one.y - y) ** 2 + (one.x - x) ** 2);
    return distances.indexOf(Math.min(...distances));
  }
}
