"use strict";
/* A page that compares results: a viewer and a ring correlation for each pair. */

async function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tables = colourTables(data.colours);
  for (const [place, pair] of data.pairs.entries()) {
    const section = document.getElementById(`pair-${place}`);
    if (pair.rings) drawRings(section.querySelector(".plot"), pair.rings);
    await startObject(section, pair, tables);
  }
  document.documentElement.dataset.state = "drawn";
}

report.done = start();
