// Curves that are read by pointing at them: mouse, touch, or the arrow keys when a chart has the focus.
// Vega draws; here the nearest logged x is found, told to the drawing, and its values are written beside the pointer.
"use strict";
document.querySelectorAll("figure.chart").forEach(async figure => {
  const spec = JSON.parse(figure.querySelector("script").textContent), lines = spec.data.values;
  const plot = figure.querySelector(".plot"), box = figure.querySelector(".values");
  const {x: across, unit} = spec.usermeta;
  const {view} = await vegaEmbed(plot, spec, {actions: false, renderer: "svg", tooltip: false});
  const known = lines.map(line => line.x.filter((_, at) => line.y[at] !== null));
  const all = [...new Set(known.flat())].sort((a, b) => a - b);
  const nearest = (values, x) => values.reduce((best, value) => Math.abs(value - x) < Math.abs(best - x) ? value : best);
  const range = all.length > 1 ? (all[all.length - 1] - all[0]) / (all.length - 1) : Infinity;
  const number = value => Math.abs(value) >= 1e4 || !value ? value.toLocaleString("en") : String(+value.toPrecision(4));
  let at = -1;

  function show(place) {
    at = Math.max(0, Math.min(all.length - 1, place));
    const x = all[at], pointed = {x}, rows = [];
    lines.forEach((line, index) => {
      if (!known[index].length) return;
      const mine = nearest(known[index], x);
      if (Math.abs(mine - x) > range) return;
      pointed[line.line] = mine;
      const row = document.createElement("li"), name = document.createElement("span");
      const value = document.createElement("b");
      const style = spec.layer[1].encoding.color.scale;
      row.style.setProperty("--mine", style.range[style.domain.indexOf(line.name)]);
      name.textContent = line.name;
      value.textContent = number(line.y[line.x.indexOf(mine)]) + unit;
      row.append(name, value);
      rows.push(row);
    });
    const head = document.createElement("li");
    head.textContent = `${across} ${number(x)}`;
    box.replaceChildren(head, ...rows);
    box.hidden = false;
    const left = view.origin()[0] + view.scale("x")(x), room = plot.clientWidth;
    box.style.left = `${left > room / 2 ? Math.max(0, left - box.offsetWidth - 12) : Math.min(left + 12, room - box.offsetWidth)}px`;
    view.signal("pointed", pointed).runAsync();
  }
  function hide() {
    box.hidden = true;
    at = -1;
    view.signal("pointed", null).runAsync();
  }
  function point(event) {
    const x = view.scale("x").invert(event.clientX - plot.getBoundingClientRect().left - view.origin()[0]);
    show(all.indexOf(nearest(all, x)));
  }
  if (!all.length) return;
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", event => event.pointerType === "mouse" && hide());
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && show(all.length - 1));
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity}[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    show(at < 0 && Number.isFinite(step) ? all.length - 1 : at + step);
  });
});
