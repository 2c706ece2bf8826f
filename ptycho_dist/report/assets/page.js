"use strict";
/* Puts the parts of the page to work; `report.done` tells when everything is drawn. */

async function startScan(section, data, object, maps, tables) {
  const points = new ScanPoints(data, tables);
  const view = new View(object.rows, object.columns, object.box);
  const choice = section.querySelector("select.value");
  const arrows = section.querySelector("input.shifts");
  const bar = section.querySelector(".bar");
  const limits = section.querySelectorAll(".limit");
  const told = section.querySelector("output.pattern");
  const pair = data.patterns.length ? new PatternPair(section.querySelector(".pair"), data.patterns, tables) : null;
  const overlay = (context, panel) => {
    if (arrows && arrows.checked) points.drawShifts(context, panel);
    else points.draw(context, panel);
    if (pair) markPatterns(context, panel, pair);
  };
  const tell = (y, x) => {
    const row = points.nearest(y, x);
    if (row < 0) return;
    const values = Object.entries(points.values).map(([name, column]) => `${name.replace("_", " ")} ${column[row].toPrecision(4)}`);
    told.textContent = [`pattern ${points.numbers[row]}`, ...values].join(", ");
  };
  const onClick = (y, x) => {
    tell(y, x);
    if (pair) pair.show(pair.nearest(y, x));
  };
  const options = { pixelSize: object.pixel_size_m, alpha: 0.35, overlay, onHover: tell, onClick };
  const panel = new Panel(section.querySelector(".points"), view, options);
  const amplitude = maps.get("amplitude");
  await panel.show(amplitude, amplitude.limits, tables.gray);
  for (const name of Object.keys(points.values)) choice.add(new Option(name.replace("_", " "), name));
  const choose = () => {
    points.choose(choice.value);
    bar.style.background = points.table.gradient();
    limits.forEach((one, index) => (one.textContent = points.limits ? shortNumber(points.limits[index]) : ""));
    panel.queueDraw();
  };
  choice.addEventListener("change", choose);
  if (arrows) arrows.addEventListener("change", () => panel.queueDraw());
  choose();
  report.points = points;
  report.scanPanel = panel;
  if (!pair) return;
  pair.onShow = () => panel.queueDraw();
  report.pair = pair;
  await pair.show(0);
}

function markPatterns(context, panel, pair) {
  pair.patterns.forEach((one, place) => {
    const [y, x] = panel.toScreen(one.y, one.x);
    context.beginPath();
    context.arc(x, y, place === pair.place ? 9 : 5, 0, 2 * Math.PI);
    context.lineWidth = place === pair.place ? 3 : 1.5;
    context.strokeStyle = place === pair.place ? "#d55e00" : "#e69f00";
    context.stroke();
  });
}

async function startFocus(section, focus, tables) {
  const canvas = section.querySelector("canvas.focus");
  const map = await new MapImage(focus).load();
  canvas.width = map.columns;
  canvas.height = map.rows;
  canvas.getContext("2d").drawImage(map.coloured(map.limits, tables.magma), 0, 0);
}

async function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tables = colourTables(data.colours);
  const section = (name) => document.getElementById(name);
  if (data.convergence) report.convergence = new Convergence(section("convergence"), data.convergence);
  if (data.rings) drawRings(section("rings").querySelector(".plot"), data.rings);
  if (data.object) {
    const maps = await startObject(section("object"), data.object, tables);
    if (data.scan) await startScan(section("scan"), data.scan, data.object, maps, tables);
  }
  if (data.probe && data.probe.focus) await startFocus(section("probe"), data.probe.focus, tables);
  document.documentElement.dataset.state = "drawn";
}

report.done = start();
