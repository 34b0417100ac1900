"use strict";
(() => {
  const groups = JSON.parse(document.getElementById("data").textContent);
  const bar = document.getElementById("cursor");
  const LEFT = 50, RIGHT = 432;
  const figures = [...document.querySelectorAll("figure[data-group]")].map((figure) => {
    const svg = figure.querySelector("svg");
    return {
      svg,
      group: groups[figure.dataset.group],
      lines: groups[figure.dataset.group].charts[figure.dataset.chart],
      outputs: [...figure.querySelectorAll("output")],
      cursor: svg.querySelector(".cursor"),
      x0: +svg.dataset.x0,
      x1: +svg.dataset.x1,
    };
  });
  let at = null, of = groups[0];

  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - xs[low - 1] < xs[low] - x ? low - 1 : low;
  };
  const shown = (value) => (value === null || value === undefined ? "–" : String(value).replace("-", "−"));

  const show = (x, group) => {
    at = x;
    of = group;
    for (const f of figures) {
      const inside = x >= f.x0 && x <= f.x1 && f.group.unit === group.unit;
      const n = inside ? nearest(f.group.x, x) : -1;
      f.cursor.setAttribute("visibility", inside ? "visible" : "hidden");
      const place = LEFT + (x - f.x0) / (f.x1 - f.x0) * (RIGHT - LEFT);
      if (inside) { f.cursor.setAttribute("x1", place); f.cursor.setAttribute("x2", place); }
      f.outputs.forEach((output, i) => { output.textContent = inside ? shown(f.lines[i][n]) : ""; });
    }
    const n = nearest(group.x, x);
    const more = Object.entries(group.rows).map(([name, values]) => ` · ${name} ${shown(values[n])}`);
    bar.textContent = `${group.unit} ${shown(group.x[n])}${more.join("")}`;
  };

  for (const f of figures) {
    f.svg.addEventListener("pointermove", (event) => {
      const box = f.svg.getBoundingClientRect();
      const part = ((event.clientX - box.left) / box.width * 440 - LEFT) / (RIGHT - LEFT);
      const x = f.x0 + Math.min(1, Math.max(0, part)) * (f.x1 - f.x0);
      if (f.group.x.length) show(f.group.x[nearest(f.group.x, x)], f.group);
    });
  }
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !of || !of.x.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const n = at === null ? (by > 0 ? -1 : of.x.length) : nearest(of.x, at);
    show(of.x[Math.min(of.x.length - 1, Math.max(0, n + by))], of);
    event.preventDefault();
  });
})();
