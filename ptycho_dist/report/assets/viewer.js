"use strict";
/* Panels that show maps of one frame; all panels of a view pan and zoom together. */

class View {
  /* box: first row and column, and last ones, of the part that is shown at first */
  constructor(rows, columns, box) {
    this.rows = rows;
    this.columns = columns;
    this.panels = [];
    const [top, left, bottom, right] = box;
    const fill = Math.min(rows / (bottom - top), columns / (right - left));
    this.first = { y: (top + bottom) / 2, x: (left + right) / 2, zoom: Math.max(1, fill * 0.94) };
    this.reset();
  }

  reset() {
    this.move(this.first.y, this.first.x, this.first.zoom);
  }

  /* Whether nothing is enlarged beyond what is shown at first. */
  get isWhole() {
    return this.zoom <= this.first.zoom * 1.001;
  }

  zoomAt(factor, y, x) {
    const zoom = Math.max(1, Math.min(64, this.zoom * factor));
    const change = this.zoom / zoom;
    this.move(y + (this.y - y) * change, x + (this.x - x) * change, zoom);
  }

  move(y, x, zoom = this.zoom) {
    this.zoom = zoom;
    const slack = (side) => side / 2 / zoom;
    this.y = Math.max(slack(this.rows), Math.min(this.rows - slack(this.rows), y));
    this.x = Math.max(slack(this.columns), Math.min(this.columns - slack(this.columns), x));
    this.redraw();
  }

  point(y, x) {
    for (const panel of this.panels) panel.tell(y, x);
  }

  redraw() {
    for (const panel of this.panels) panel.queueDraw();
  }
}

class Panel {
  /* element: holds a canvas; view: shared; options: aspect limits, overlay(context, panel), onClick(y, x) */
  constructor(element, view, options = {}) {
    this.element = element;
    this.view = view;
    this.options = options;
    this.canvas = element.querySelector("canvas");
    this.readout = element.querySelector("output");
    this.map = null;
    this.pointers = new Map();
    this.canvas.tabIndex = 0;
    this.listen();
    view.panels.push(this);
    new ResizeObserver(() => this.resize()).observe(this.canvas.parentElement);
    this.resize();
  }

  async show(map, limits, table) {
    this.map = await map.load();
    this.limits = limits;
    this.table = table;
    this.queueDraw();
  }

  resize() {
    const width = this.canvas.parentElement.clientWidth;
    const aspect = Math.max(0.35, Math.min(1.1, this.view.rows / this.view.columns));
    this.ratio = window.devicePixelRatio || 1;
    this.width = width;
    this.height = Math.round(width * aspect);
    this.canvas.style.height = `${this.height}px`;
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    this.queueDraw();
  }

  get scale() {
    return Math.min(this.width / this.view.columns, this.height / this.view.rows) * this.view.zoom;
  }

  toObject(offsetY, offsetX) {
    return [
      this.view.y + (offsetY - this.height / 2) / this.scale,
      this.view.x + (offsetX - this.width / 2) / this.scale,
    ];
  }

  toScreen(y, x) {
    return [(y - this.view.y) * this.scale + this.height / 2, (x - this.view.x) * this.scale + this.width / 2];
  }

  queueDraw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.draw();
    });
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.canvas.style.touchAction = this.view.isWhole ? "pan-y" : "none";
    if (this.map) this.drawMap(context);
    if (this.options.overlay) this.options.overlay(context, this);
    this.drawScaleBar(context);
  }

  drawMap(context) {
    const { map, scale } = this;
    const [top, left] = this.toScreen(map.corner[0], map.corner[1]);
    context.imageSmoothingEnabled = scale * map.step < 1;
    context.globalAlpha = this.options.alpha || 1;
    const size = scale * map.step;
    context.drawImage(map.coloured(this.limits, this.table), left, top, map.columns * size, map.rows * size);
    context.globalAlpha = 1;
  }

  strokeOutline(context, path, step) {
    const size = this.scale * step;
    const [top, left] = this.toScreen(0, 0);
    context.save();
    context.translate(left, top);
    context.scale(size, size);
    context.lineWidth = 1.3 / size;
    context.strokeStyle = "#e69f00";
    context.stroke(path);
    context.restore();
  }

  drawScaleBar(context) {
    const pixel = this.options.pixelSize;
    const target = (this.width / 4 / this.scale) * (pixel || 1);
    const length = roundLength(target);
    const wide = (length / (pixel || 1)) * this.scale;
    const label = pixel ? lengthText(length) : `${length} px`;
    const left = 12;
    const bottom = this.height - 12;
    context.font = "600 12px system-ui, sans-serif";
    const box = Math.max(wide, context.measureText(label).width) + 12;
    context.fillStyle = "rgba(0,0,0,0.6)";
    context.fillRect(left - 6, bottom - 24, box, 30);
    context.fillStyle = "#fff";
    context.fillRect(left, bottom - 3, wide, 3);
    context.textAlign = "left";
    context.fillText(label, left, bottom - 9);
  }

  tell(y, x) {
    if (!this.readout || !this.map) return;
    const value = this.map.at(y, x);
    const unit = this.map.unit ? ` ${this.map.unit}` : "";
    const beyond = this.map.isCut(value) ? (value >= this.map.high ? "\u2265 " : "\u2264 ") : "";
    this.readout.textContent = Number.isNaN(value) ? "no value here" : `${beyond}${value.toPrecision(4)}${unit}`;
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.onUp(event));
    canvas.addEventListener("dblclick", () => this.view.reset());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  onWheel(event) {
    event.preventDefault();
    const [y, x] = this.toObject(event.offsetY, event.offsetX);
    this.view.zoomAt(Math.exp(-event.deltaY / 300), y, x);
  }

  onDown(event) {
    this.pointers.set(event.pointerId, event);
    this.dragged = 0;
    if (!this.view.isWhole || this.pointers.size > 1) this.canvas.setPointerCapture(event.pointerId);
  }

  onMove(event) {
    const [y, x] = this.toObject(event.offsetY, event.offsetX);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.view.point(y, x);
      if (this.options.onHover) this.options.onHover(y, x);
      return;
    }
    if (this.pointers.size === 2) this.pinch(event);
    else this.drag(before, event);
    this.pointers.set(event.pointerId, event);
  }

  drag(before, event) {
    const moved = [event.offsetY - before.offsetY, event.offsetX - before.offsetX];
    this.dragged += Math.hypot(...moved);
    this.view.move(this.view.y - moved[0] / this.scale, this.view.x - moved[1] / this.scale);
  }

  pinch(event) {
    const others = [...this.pointers.values()].filter((one) => one.pointerId !== event.pointerId);
    const before = this.pointers.get(event.pointerId);
    const distance = (one) => Math.hypot(one.offsetX - others[0].offsetX, one.offsetY - others[0].offsetY) || 1;
    const [y, x] = this.toObject((event.offsetY + others[0].offsetY) / 2, (event.offsetX + others[0].offsetX) / 2);
    this.dragged += 100;
    this.view.zoomAt(distance(event) / distance(before), y, x);
  }

  onUp(event) {
    const wasClick = this.pointers.delete(event.pointerId) && event.type === "pointerup" && this.dragged < 5;
    if (!wasClick) return;
    const [y, x] = this.toObject(event.offsetY, event.offsetX);
    this.view.point(y, x);
    if (this.options.onClick) this.options.onClick(y, x);
  }

  onKey(event) {
    const step = this.view.rows / this.view.zoom / 10;
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
    if (event.key in moves && !this.view.isWhole) {
      this.view.move(this.view.y + moves[event.key][0], this.view.x + moves[event.key][1]);
    } else if (event.key === "+" || event.key === "=") this.view.zoomAt(1.5, this.view.y, this.view.x);
    else if (event.key === "-") this.view.zoomAt(1 / 1.5, this.view.y, this.view.x);
    else if (event.key === "0") this.view.reset();
    else return;
    event.preventDefault();
  }
}

/* A panel with a choice of maps and a colour range. */
class MapPanel extends Panel {
  constructor(element, view, maps, tables, options) {
    super(element, view, options);
    this.maps = maps;
    this.tables = tables;
    this.choice = element.querySelector("select.map");
    this.colours = element.querySelector("select.colours");
    [this.lowField, this.highField] = element.querySelectorAll("input[type=number]");
    this.bar = element.querySelector(".bar");
    for (const map of maps.values()) this.choice.add(new Option(map.title, map.name));
    for (const name of Object.keys(tables)) this.colours.add(new Option(name, name));
    this.choice.addEventListener("change", () => this.choose(this.choice.value));
    this.colours.addEventListener("change", () => this.recolour());
    for (const field of [this.lowField, this.highField]) field.addEventListener("change", () => this.recolour());
    element.querySelector("button.auto").addEventListener("click", () => this.choose(this.choice.value));
  }

  choose(name) {
    const map = this.maps.get(name);
    this.choice.value = name;
    this.colours.value = map.colours;
    const digits = (value) => Number(value.toPrecision(4));
    [this.lowField.value, this.highField.value] = map.limits.map(digits);
    for (const field of [this.lowField, this.highField]) field.step = Number(((map.limits[1] - map.limits[0]) / 50).toPrecision(1));
    this.readout.textContent = map.unit;
    return this.recolour();
  }

  recolour() {
    const limits = [Number(this.lowField.value), Number(this.highField.value)];
    if (!(limits[1] > limits[0])) return Promise.resolve();
    const table = this.tables[this.colours.value];
    this.bar.style.background = table.gradient();
    return this.show(this.maps.get(this.choice.value), limits, table);
  }
}
