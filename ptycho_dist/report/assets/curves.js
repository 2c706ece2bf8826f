"use strict";
/* Curves with uPlot: convergence against passes or seconds, and the Fourier ring correlation. */

const INK = { blue: "#0072b2", orange: "#d55e00", green: "#009e73", grey: "#888888", pink: "#cc79a7" };

function inkOfPage() {
  return getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
}

function axis(label, extra = {}) {
  const faint = "rgba(128,128,128,0.25)";
  return {
    label,
    stroke: inkOfPage,
    grid: { stroke: faint, width: 1 },
    ticks: { stroke: faint, width: 1 },
    font: "12px system-ui, sans-serif",
    labelFont: "13px system-ui, sans-serif",
    ...extra,
  };
}

const shortNumber = (value) => (value === null || value === undefined ? "--" : String(Number(value.toPrecision(4))));

function drawCurves(element, { data, series, axes, scales, hooks }) {
  element.replaceChildren();
  const size = () => ({ width: element.clientWidth, height: Math.max(240, Math.min(380, element.clientWidth * 0.5)) });
  const plot = new uPlot({ ...size(), series, axes, scales, hooks, cursor: { y: false } }, data, element);
  if (element.observer) element.observer.disconnect();
  element.observer = new ResizeObserver(() => {
    if (element.clientWidth && element.clientWidth !== plot.width) plot.setSize(size());
  });
  element.observer.observe(element);
  return plot;
}

function line(label, colour, extra = {}) {
  const value = (_, number) => shortNumber(number);
  return { label, stroke: colour, width: 2, spanGaps: true, points: { size: 5 }, value, ...extra };
}

const logLabels = (_, values) => values.map((value) => (value === null ? "" : String(Number(value.toPrecision(3)))));

/* Smallest round numbers of a logarithmic axis; of a short one, evenly spread ones. */
function logSplits(plot, axisIndex, low, high) {
  if (high / low > 12) {
    const splits = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const lead of [1, 2, 5]) {
        const value = Number((lead * 10 ** power).toPrecision(1));
        if (value >= low && value <= high) splits.push(value);
      }
    }
    return splits;
  }
  const step = roundLength((high - low) / 4);
  const splits = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) splits.push(Number((k * step).toPrecision(6)));
  return splits;
}

class Convergence {
  constructor(element, data) {
    this.plotElement = element.querySelector(".plot");
    this.data = data;
    this.buttons = element.querySelectorAll("button[data-x]");
    const timed = [data.training, data.refinement].filter(Boolean);
    this.hasSeconds = timed.length > 0 && timed.every((curve) => curve.seconds.every((value) => value !== null));
    for (const button of this.buttons) {
      button.addEventListener("click", () => this.draw(button.dataset.x));
      if (button.dataset.x === "seconds") button.disabled = !this.hasSeconds;
    }
    this.draw("pass");
  }

  /* Every curve on one axis: the refinement goes on where the training ends. */
  curves(kind) {
    const { training, refinement, starts, chosen } = this.data;
    const end = training ? training[kind][training[kind].length - 1] : 0;
    const after = (values) => values.map((value) => value + end);
    const found = [];
    const isLoss = refinement && this.data.training_unit !== "Fourier error";
    if (training) {
      const scale = isLoss ? { scale: "loss" } : {};
      found.push([training[kind], training.error, line(`network: ${this.data.training_unit} of its groups`, INK.blue, scale)]);
    }
    if (refinement) {
      const name = chosen ? `refinement (kept: from ${chosen})` : "refinement";
      found.push([after(refinement[kind]), refinement.error, line(name, INK.orange)]);
      for (const [start, curve] of Object.entries(starts)) {
        if (start === chosen) continue;
        const x = curve.pass.map((pass) => refinement[kind][refinement.pass.indexOf(pass)]);
        found.push([after(x), curve.error, line(`refinement from ${start}`, INK.green, { dash: [6, 4] })]);
      }
    }
    return found;
  }

  draw(kind) {
    for (const button of this.buttons) button.classList.toggle("on", button.dataset.x === kind);
    const curves = this.curves(kind);
    if (!curves.length) return;
    const data = uPlot.join(curves.map(([x, y]) => [x, y]));
    const label = kind === "pass" ? "passes over the scan" : "seconds";
    const isLoss = curves.some(([, , one]) => one.scale === "loss");
    const logAxis = { splits: logSplits, filter: (_, splits) => splits, values: logLabels, size: 64 };
    const whole = { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] };
    const unit = this.data.refinement ? "Fourier error" : this.data.training_unit;
    const axes = [axis(label, kind === "pass" ? whole : {}), axis(unit, logAxis)];
    const range = (_, low, high) => [low / 1.08, high * 1.08];
    const scales = { x: { time: false }, y: { distr: 3, range } };
    if (isLoss) {
      scales.loss = { distr: 3, range };
      axes.push(axis("training loss", { ...logAxis, scale: "loss", side: 1, grid: { show: false } }));
    }
    const series = [{ label, value: (_, value) => shortNumber(value) }, ...curves.map(([, , one]) => one)];
    this.plot = drawCurves(this.plotElement, { data, series, axes, scales });
  }
}

function drawRings(element, rings) {
  const flat = rings.frequency.map(() => rings.one_seventh);
  const crossing = (plot) => {
    const context = plot.ctx;
    for (const [pixels, colour] of [[rings.half_bit_px, INK.orange], [rings.one_seventh_px, INK.grey]]) {
      if (pixels === null) continue;
      const x = plot.valToPos(1 / pixels, "x", true);
      context.save();
      context.strokeStyle = colour;
      context.setLineDash([3, 3]);
      context.beginPath();
      context.moveTo(x, plot.bbox.top);
      context.lineTo(x, plot.bbox.top + plot.bbox.height);
      context.stroke();
      context.restore();
    }
  };
  const low = Math.min(0, ...rings.frc) - 0.02;
  const noPoints = { points: { show: false } };
  drawCurves(element, {
    data: [rings.frequency, rings.frc, rings.half_bit, flat],
    series: [
      { label: "frequency (1/px)", value: (_, value) => shortNumber(value) },
      line("FRC", INK.blue, noPoints),
      line("1/2-bit threshold", INK.orange, { dash: [6, 4], ...noPoints }),
      line("1/7", INK.grey, { dash: [2, 3], ...noPoints }),
    ],
    axes: [axis("spatial frequency (cycles per pixel)"), axis("correlation")],
    scales: { x: { time: false, range: [0, 0.5] }, y: { range: [low, 1.05] } },
    hooks: { draw: [crossing] },
  });
}
