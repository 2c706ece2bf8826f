"use strict";
/* The viewer of an object: its panels, tools and the place under the cursor. */

const report = {};

async function startObject(section, data, tables) {
  const maps = new Map(data.maps.map((record) => [record.name, new MapImage(record)]));
  const view = new View(data.rows, data.columns, data.box);
  const outline = await outlineOf(data.area);
  const box = section.querySelector("input.outline");
  const place = section.querySelector("output.place");
  const overlay = (context, panel) => box.checked && panel.strokeOutline(context, outline, data.step);
  const onHover = (y, x) => {
    const size = data.pixel_size_m;
    const lengths = size ? `y ${lengthText(y * size, 4)}, x ${lengthText(x * size, 4)} ` : "";
    place.textContent = `${lengths}(row ${Math.floor(y)}, column ${Math.floor(x)})`;
  };
  box.addEventListener("change", () => view.redraw());
  for (const button of section.querySelectorAll("button[data-zoom]")) {
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      if (factor) view.zoomAt(factor, view.y, view.x);
      else view.reset();
    });
  }
  const grid = section.querySelector(".panels");
  const template = section.querySelector("template");
  report.view = view;
  report.panels = [];
  for (const name of data.shown) {
    grid.append(template.content.cloneNode(true));
    const options = { pixelSize: data.pixel_size_m, overlay, onHover, onClick: onHover };
    const panel = new MapPanel(grid.lastElementChild, view, maps, tables, options);
    report.panels.push(panel);
    await panel.choose(name);
  }
  return maps;
}
