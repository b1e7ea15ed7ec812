// Plots as SVG, drawn at the width they are shown at so that their text keeps its size.

const COSTS = content.axes;

const widthOf = (node) => Math.max(280, Math.floor(node.clientWidth));

function linear([low, high], [from, to]) {
  const scale = (v) => from + ((v - low) / (high - low || 1)) * (to - from);
  scale.domain = [low, high];
  return scale;
}

function logarithmic([low, high], range) {
  const inner = linear([Math.log(low), Math.log(high)], range);
  const scale = (v) => inner(Math.log(v));
  scale.domain = [low, high];
  return scale;
}

function ticks(low, high, about) {
  const raw = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const m of [1, 2, 5]) found.push(Number((m * 10 ** power).toPrecision(6)));
  }
  const inside = found.filter((t) => t >= low && t <= high);
  return inside.length < 3 ? ticks(low, high, 5) : inside;
}

// Colour and form of a row's mark, from its method's place among all methods of the page: a method
// looks the same in every table, and in the plots for papers. A dash for each student.
function slot(row) {
  const dash = Math.max(0, students().indexOf(row.student)) % 3;
  if (row.role === "teacher") return { color: 0, dash: 1, form: "diamond" };
  if (row.role === "none") return { color: "none", dash, form: "circle" };
  const index = content.methods.indexOf(row.method);
  return { color: 1 + (index % 6), dash, form: FORMS[Math.floor(index / 6) % FORMS.length] };
}

const FORMS = ["circle", "square", "up", "down", "plus"];
const PATHS = {
  diamond: (d) => `M0 ${-d}L${d} 0L0 ${d}L${-d} 0Z`,
  square: (d) => `M${-0.8 * d} ${-0.8 * d}H${0.8 * d}V${0.8 * d}H${-0.8 * d}Z`,
  up: (d) => `M0 ${-d}L${d} ${0.8 * d}H${-d}Z`,
  down: (d) => `M0 ${d}L${d} ${-0.8 * d}H${-d}Z`,
  plus: (d) => `M${-0.35 * d} ${-d}h${0.7 * d}v${0.65 * d}h${0.65 * d}v${0.7 * d}h${-0.65 * d}v${0.65 * d}h${-0.7 * d}v${-0.65 * d}h${-0.65 * d}v${-0.7 * d}h${0.65 * d}Z`,
};

function markClass(row, compared = state.compared.has(row.id)) {
  if (!compared) return "mark";
  const { color, dash } = slot(row);
  return `mark s${color} d${dash}`;
}

function shape(row, x, y, r = 5) {
  const { form } = slot(row);
  if (form !== "circle") return svg("path", { class: "shape filled", d: PATHS[form](1.2 * r), transform: `translate(${x} ${y})` });
  return svg("circle", { class: `shape ${row.role === "none" ? "hollow" : "filled"}`, cx: x, cy: y, r });
}

function axes(width, height, box, x, xTicks, y, yTicks, format = (v) => v) {
  return [
    yTicks.map((t) => [
      svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: y(t), y2: y(t) }),
      svg("text", { x: box.left - 8, y: y(t) + 4, "text-anchor": "end" }, format(t)),
    ]),
    svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    xTicks.map((t) => [
      svg("line", { class: "axis", x1: x(t), x2: x(t), y1: box.bottom, y2: box.bottom + 4 }),
      svg("text", { x: x(t), y: box.bottom + 18, "text-anchor": "middle" }, String(t)),
    ]),
  ];
}

function drawCost() {
  const figure = byId("cost-figure");
  byId("cost-controls").replaceChildren(
    toggles("Cost", COSTS.map((column) => column.key), state.cost, (v) => { state.cost = v; drawCost(); }),
    toggles("Accuracy", section().metrics, state.costMetric, (v) => { state.costMetric = v; drawCost(); }),
  );
  const [column, metric] = [COSTS.find((c) => c.key === state.cost), state.costMetric];
  const points = costPoints(column, metric);
  if (!points.length) {
    figure.replaceChildren(el("p", { class: "note" }, "No row has both a mAP and this cost."));
    return;
  }
  const width = widthOf(figure);
  const height = width < 560 ? 350 : 420;
  const box = { left: 46, right: width - (width < 560 ? 12 : 150), top: 62, bottom: height - 46 };
  const x = costScale(points, box);
  const low = Math.min(...points.map((p) => p.map - p.error));
  const high = Math.max(...points.map((p) => p.map + p.error));
  const pad = Math.max(0.08 * (high - low), 0.25);
  const y = linear([Math.max(0, low - 1.5 * pad), high + pad], [box.bottom, box.top]);
  const front = section().fronts[column.key][metric].map((id) => points.find((p) => p.row.id === id)).filter(Boolean);
  const steps = front.map((p, i) => (i ? `H${p.at}V${y(p.map)}` : `M${p.at} ${y(p.map)}`)).join("");
  const beside = width < 560 ? [] : points.filter((p) => state.compared.has(p.row.id));
  const near = nearLabels(points.filter((p) => !beside.includes(p)), points, front, y, box);
  const unnamed = points.filter((p) => !near.has(p) && !state.compared.has(p.row.id));
  const title = `${metric} mAP against ${column.key} of ${points.length} rows`;
  figure.replaceChildren(
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": `${title}. The Results table holds the same figures.` },
      axes(width, height, box, x, logTicks(...x.domain), y, ticks(...y.domain, 6)),
      svg("text", { x: box.left - 38, y: 12 }, `${metric} mAP (%)`),
      svg("text", { x: box.right, y: height - 8, "text-anchor": "end" }, `${column.key}, logarithmic`),
      studentLines(points, x, box, column, width),
      svg("path", { class: "front", d: steps }),
      points.map((p) => point(p, y, metric, column, figure)),
      [...near.values()],
      labels(beside, y, box),
    ),
    costLegend(width < 560 ? points : [], unnamed),
    el(
      "figcaption",
      null,
      badge(),
      ` ${content.captions.marks} ${column.kind === "spread" ? content.captions.ranges : ""} Colours are those of the rows chosen under Compare rows; the others are grey.`,
    ),
  );
}

// The rows that have both figures, from the cheapest up; rows of equal cost by name: no slope to misread.
function costPoints(column, metric) {
  return section()
    .rows.map((row) => ({ row, cost: row.figures[column.key], iqr: row.figures[`${column.key} iqr`] || 0, map: row.figures[`${metric} mAP`], error: halfWidth(row, metric) }))
    .filter((p) => isNumber(p.cost) && p.cost > 0 && isNumber(p.map))
    .sort((a, b) => a.cost - b.cost || nameOf(a.row).localeCompare(nameOf(b.row)));
}

const halfWidth = (row, metric) => {
  const [low, high] = [row.figures[`${metric} gain low`], row.figures[`${metric} gain high`]];
  return isNumber(low) ? (high - low) / 2 : 0;
};
// Half of the interquartile range on each side of a cost.
const rangeEnds = (p) => [Math.max(p.cost - p.iqr / 2, p.cost / 10), p.cost + p.iqr / 2];

// The axis, with room for marks at its ends. Sets where each cost is (at) and its mark (x).
function costScale(points, box) {
  const across = box.right - box.left;
  const gap = Math.min(13, (0.6 * across) / points.length);
  const most = Math.max(...points.map((p) => points.filter((other) => other.cost === p.cost).length));
  const room = Math.min(24 + (most * gap) / 2, 0.38 * across);
  const ends = points.flatMap(rangeEnds);
  let [low, high] = [Math.min(...ends), Math.max(...ends)];
  if (high / low < 1.1) [low, high] = [low / 1.6, high * 1.6];
  const factor = Math.exp((room * Math.log(high / low)) / (across - 2 * room));
  const x = logarithmic([low / factor, high * factor], [box.left, box.right]);
  points.forEach((p) => (p.at = Number(x(p.cost).toFixed(1))));
  sideBySide(points.map((p) => p.at), points.map(() => gap)).forEach((place, i) => (points[i].x = Number(place.toFixed(1))));
  return x;
}

// Centres of things of these widths, moved as little as sets them side by side.
function sideBySide(places, widths) {
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const starts = widths.map(() => 0);
  for (let i = 1; i < widths.length; i++) starts[i] = starts[i - 1] + (widths[i - 1] + widths[i]) / 2;
  const blocks = []; // of things that touch, where their first would be
  places.forEach((place, i) => {
    blocks.push([place - starts[i]]);
    while (blocks.length > 1 && mean(blocks.at(-2)) > mean(blocks.at(-1))) blocks.splice(-2, 2, blocks.slice(-2).flat());
  });
  return blocks.flatMap((block) => block.map(() => mean(block))).map((first, i) => first + starts[i]);
}

// A vertical line at each student's cost, its name above, and its interquartile range at the bottom.
function studentLines(points, x, box, column, width) {
  const found = points.filter((p, i) => points.findIndex((q) => q.row.student === p.row.student && q.cost === p.cost) === i);
  const names = found.map((p) => p.row.student + (saysLittle(p.row, column.key) ? ` ${content.noisy.mark}` : ""));
  const widths = names.map((name) => 6.5 * name.length + 10);
  const rows = widths.reduce((a, b) => a + b, 0) > width ? 2 : 1;
  const places = [];
  for (let row = 0; row < rows; row++) {
    const mine = found.map((_, i) => i).filter((i) => i % rows === row);
    const set = sideBySide(mine.map((i) => found[i].at), mine.map((i) => widths[i]));
    mine.forEach((i, k) => (places[i] = { x: Math.min(Math.max(set[k], widths[i] / 2), width - widths[i] / 2), y: box.top - 14 - 15 * row }));
  }
  return found.map((p, i) => [
    svg("path", { class: "student", d: `M${p.at} ${box.bottom}V${box.top}L${places[i].x} ${places[i].y + 4}` }),
    svg("text", { class: "halo", x: places[i].x, y: places[i].y, "text-anchor": "middle" }, names[i]),
    p.iqr ? range(...rangeEnds(p).map(x), box.bottom - 8 - 9 * (i % 2)) : null,
  ]);
}

const range = (from, to, y) =>
  svg("path", { class: "range", d: `M${from.toFixed(1)} ${y - 3}v6m0 -3H${to.toFixed(1)}m0 -3v6` });

// A row's cost in words, with its range and what it depends on.
function costText(row, column) {
  const text = `${fixed(row.figures[column.key], column.digits)}${rangeOf(row, column) ? ` (${rangeOf(row, column)})` : ""}`;
  if (column.kind !== "spread" || !isNumber(row.figures.threads)) return text;
  const load = isNumber(row.figures.load) ? `, load ${fixed(row.figures.load, 1)}` : "";
  return `${text}, ${many(row.figures.threads, "thread")}${load}`;
}

function point(p, y, metric, column, figure) {
  const gainText = p.row.role === "method" ? `gain ${signed(p.row.figures[`${metric} gain`], 2)} ${interval(p.row, metric)}` : "";
  const lines = [`${metric} mAP ${fixed(p.map, 2)}`, gainText, `${column.key} ${costText(p.row, column)}`, `seeds ${p.row.seeds}`, p.row.verdict].filter(Boolean);
  const show = () => tip(figure, p.x, y(p.map), titleOf(p.row), lines);
  const hide = () => figure.querySelector(".tip")?.remove();
  const open = () => openDetails(p.row);
  return svg(
    "g",
    {
      class: `point ${markClass(p.row)}`,
      tabindex: 0,
      role: "button",
      "aria-label": `${titleOf(p.row)}: ${lines.join(", ")}`,
      onmouseenter: show,
      onmouseleave: hide,
      onfocus: show,
      onblur: hide,
      onclick: open,
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
        if (event.key === "Escape") hide();
      },
    },
    p.at === p.x ? null : svg("line", { class: "leader", x1: p.at, x2: p.x, y1: y(p.map), y2: y(p.map) }),
    p.error ? svg("line", { class: "error", x1: p.x, x2: p.x, y1: y(p.map - p.error), y2: y(p.map + p.error) }) : null,
    svg("circle", { class: "ring", cx: p.x, cy: y(p.map), r: 11 }),
    shape(p.row, p.x, y(p.map)),
  );
}

// Short names of marks beside them, where they hide no other mark, bar or name.
function nearLabels(points, all, front, y, box) {
  const taken = all.flatMap((p) => [
    { left: p.x - 7, right: p.x + 7, top: y(p.map) - 7, bottom: y(p.map) + 7 },
    { left: p.x - 2, right: p.x + 2, top: y(p.map + p.error), bottom: y(p.map - p.error) },
    { left: Math.min(p.at, p.x), right: Math.max(p.at, p.x), top: y(p.map) - 1, bottom: y(p.map) + 1 },
    { left: p.at - 1, right: p.at + 1, top: box.top, bottom: box.bottom },
  ]);
  front.slice(1).forEach((p, i) => taken.push({ left: front[i].at, right: p.at, top: y(front[i].map) - 1, bottom: y(front[i].map) + 1 }));
  const free = (a) =>
    a.left >= box.left && a.right <= box.right && !taken.some((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom);
  const first = [...points].sort((a, b) => state.compared.has(b.row.id) - state.compared.has(a.row.id));
  const found = new Map();
  for (const p of first) {
    const text = shortened(p.row, 18);
    const wide = 6.3 * text.length;
    const around = [
      { x: p.x + 9, y: y(p.map) + 4, anchor: "start", left: p.x + 9 },
      { x: p.x - 9, y: y(p.map) + 4, anchor: "end", left: p.x - 9 - wide },
      ...[y(p.map + p.error) - (p.error ? 4 : 10), y(p.map - p.error) + (p.error ? 12 : 18)].flatMap((base) => [
        { x: p.x, y: base, anchor: "middle", left: p.x - wide / 2 },
        { x: p.x - 3, y: base, anchor: "start", left: p.x - 3 },
        { x: p.x + 3, y: base, anchor: "end", left: p.x + 3 - wide },
      ]),
    ].map((place) => ({ ...place, right: place.left + wide, top: place.y - 10, bottom: place.y + 2 }));
    const place = around.find(free);
    if (!place) continue;
    taken.push(place);
    found.set(p, svg("text", { class: "near small", x: place.x, y: place.y, "text-anchor": place.anchor, "aria-hidden": "true" }, text));
  }
  return found;
}

// Names the marks that have no name beside them, the grey ones from the highest down.
function costLegend(points, unnamed) {
  const chosen = points.map((p) => p.row).filter((row, i, rows) => state.compared.has(row.id) && rows.findIndex((other) => other.method === row.method) === i);
  const names = [...unnamed].sort((a, b) => b.map - a.map).map((p) => titleOf(p.row));
  const key = (mark, text) => el("span", { class: "key" }, svg("svg", { viewBox: "0 0 26 14", "aria-hidden": "true" }, mark), el("span", null, text));
  return el(
    "div",
    { class: "legend" },
    chosen.map((row) => key(svg("g", { class: markClass(row) }, shape(row, 13, 7)), breakable(nameOf(row)))),
    names.length ? key(svg("g", { class: "mark" }, svg("circle", { class: "filled", cx: 13, cy: 7, r: 5 })), breakable(`grey, from the top: ${names.join(", ")}`)) : null,
  );
}

function tip(figure, x, y, title, lines) {
  figure.querySelector(".tip")?.remove();
  const box = el("div", { class: "tip", role: "tooltip" }, el("b", null, title), lines.map((line) => el("div", null, line)));
  figure.append(box);
  const room = figure.clientWidth - box.offsetWidth;
  box.style.left = `${Math.max(0, Math.min(room, x + 14))}px`;
  box.style.top = `${Math.max(0, y - box.offsetHeight - 10)}px`;
}

// Names of the compared points in a column at the right, in order of height, none above another.
function labels(points, y, box) {
  const order = [...points].sort((a, b) => b.map - a.map);
  let last = -Infinity;
  for (const p of order) last = p.labelY = Math.max(y(p.map), last + 16);
  const over = Math.max(0, last - box.bottom);
  return order.map((p) =>
    svg(
      "g",
      { class: markClass(p.row), "aria-hidden": "true" },
      svg("path", { d: `M${p.x + 8} ${y(p.map)}L${box.right + 4} ${p.labelY - over}`, fill: "none", "stroke-opacity": 0.35 }),
      svg("text", { class: "label halo", x: box.right + 9, y: p.labelY - over + 4 }, shortened(p.row, 20)),
    ),
  );
}

function shortened(row, most) {
  const text = nameOf(row);
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
}

const compared = () => [...state.compared].sort((a, b) => a - b).map((id) => section().rows[id]);

function drawChips() {
  const groups = [["Teacher", section().rows.filter((r) => r.role === "teacher")]];
  for (const student of students()) {
    groups.push([student, section().rows.filter((r) => r.student === student && r.role !== "teacher")]);
  }
  byId("chips").replaceChildren(
    ...groups
      .filter(([, rows]) => rows.length)
      .map(([name, rows]) => el("div", { class: "chips", role: "group", "aria-label": name }, name, el("div", null, rows.map(chip)))),
  );
}

function chip(row) {
  const on = state.compared.has(row.id);
  const toggle = () => {
    on ? state.compared.delete(row.id) : state.compared.add(row.id);
    drawComparison();
    byId("chips").querySelector(`[data-row="${row.id}"]`).focus();
  };
  return el(
    "button",
    { type: "button", class: "chip", "aria-pressed": String(on), "data-row": row.id, onclick: toggle },
    svg("svg", { viewBox: "0 0 26 12", "aria-hidden": "true", class: markClass(row) }, svg("path", { class: "curve", d: "M1 6H25" }), shape(row, 13, 6, 4)),
    el("span", null, breakable(nameOf(row))),
  );
}

function drawComparison() {
  drawChips();
  drawCurves();
  drawDistance();
  drawCost();
}

function drawCurves() {
  const figure = byId("curves-figure");
  const names = section().losses;
  byId("curves-controls").replaceChildren(
    ...(names.length > 1 ? [choice("Loss", names.map((n) => [n, n]), state.loss, (v) => { state.loss = v; drawCurves(); })] : []),
  );
  const lines = compared()
    .map((row) => ({ row, values: row.losses[state.loss] }))
    .filter((line) => line.values?.length);
  if (!lines.length) {
    figure.replaceChildren(el("p", { class: "note" }, "None of the chosen rows has this loss."));
    return;
  }
  const width = widthOf(figure);
  const height = 290;
  const box = { left: 50, right: width - 10, top: 24, bottom: height - 42 };
  const epochs = Math.max(...lines.map((l) => l.values.length));
  const all = lines.flatMap((l) => l.values);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const pad = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
  const x = linear(epochs > 1 ? [1, epochs] : [0, 2], [box.left, box.right]);
  const y = linear([low - pad, high + pad], [box.bottom, box.top]);
  const xTicks = epochs > 1 ? ticks(1, epochs, 6).filter(Number.isInteger) : [1];
  figure.replaceChildren(
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Mean ${state.loss} loss per epoch of ${lines.map((l) => titleOf(l.row)).join(", ")}` },
      axes(width, height, box, x, xTicks, y, ticks(...y.domain, 5)),
      svg("text", { x: 4, y: 12 }, `${state.loss} (mean over an epoch)`),
      svg("text", { x: box.right, y: height - 6, "text-anchor": "end" }, "epoch"),
      lines.map(({ row, values }) =>
        svg(
          "g",
          { class: markClass(row) },
          svg("path", { class: "curve", d: values.map((v, i) => `${i ? "L" : "M"}${x(i + 1).toFixed(1)} ${y(v).toFixed(1)}`).join("") }),
          values.map((v, i) => (i % Math.max(1, Math.ceil(values.length / 12)) ? null : shape(row, x(i + 1), y(v), 2.8))),
        ),
      ),
    ),
    el("figcaption", null, badge(), " Means over a row’s seeds. A distilled student’s total holds its distillation losses, so totals of different methods are on different scales."),
    plainTable(
      "Figures as a table",
      ["Run", ...Array.from({ length: epochs }, (_, i) => `epoch ${i + 1}`)],
      lines.map(({ row, values }) => [titleOf(row), ...values.map((v) => fixed(v, 4))]),
    ),
  );
}

function drawDistance() {
  const figure = byId("distance-figure");
  byId("distance-controls").replaceChildren(
    toggles("Metric", VIEWED, state.distanceMetric, (v) => { state.distanceMetric = v; drawDistance(); }),
  );
  const lines = compared().filter((row) => row.distances);
  if (!lines.length) {
    figure.replaceChildren(el("p", { class: "note" }, "The records of the chosen rows have no views, or a metric other than KITTI's: no AP by distance from the sensor."));
    return;
  }
  const ap = (row, i, name) => row.distances[i]?.ap[name][state.distanceMetric];
  const kept = lines[0].distances.map((_, i) => i).filter((i) => lines.some((row) => classes().some((name) => isNumber(ap(row, i, name)))));
  const names = kept.map((i) => lines[0].distances[i]).map((d) => (isNumber(d.to) ? `${d.from}–${d.to}` : `${d.from}+`));
  const value = (row, k, name) => ap(row, kept[k], name);
  const cell = (row, k, name) => fixed(value(row, k, name), 1) + (isNumber(value(row, k, name)) && row.distances[kept[k]].bounded[name] ? "*" : "");
  const width = widthOf(figure);
  const side = width > 140 * classes().length; // the panels side by side, or one below the other
  const [left, top, bottom, gap] = [34, 44, 26, 18];
  const tall = side ? 222 : 130;
  const count = classes().length;
  const broad = side ? (width - left - (count - 1) * gap) / count : width - left;
  const height = side ? top + tall + bottom : count * (top + tall + bottom);
  const high = Math.max(5, ...lines.flatMap((row) => classes().flatMap((c) => names.map((_, i) => value(row, i, c) || 0))));
  const boxes = classes().map((_, c) => {
    const [x, y] = side ? [left + c * (broad + gap), top] : [left, top + c * (top + tall + bottom)];
    return { left: x, right: x + broad, top: y, bottom: y + tall };
  });
  figure.replaceChildren(
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${state.distanceMetric} AP by distance of ${lines.map(titleOf).join(", ")}` },
      svg("text", { x: 0, y: 12 }, `${state.distanceMetric} AP (%) at Moderate, by distance (m)`),
      classes().map((name, c) => {
        const box = boxes[c];
        const x = linear([-0.45, names.length - 0.55], [box.left, box.right]);
        const y = linear([0, Math.min(100, high * 1.08)], [box.bottom, box.top]);
        return svg(
          "g",
          null,
          ticks(...y.domain, side ? 5 : 3).map((t) => [
            svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: y(t), y2: y(t) }),
            c && side ? null : svg("text", { x: box.left - 7, y: y(t) + 4, "text-anchor": "end" }, String(t)),
          ]),
          svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
          svg("text", { class: "label", x: (box.left + box.right) / 2, y: box.top - 10, "text-anchor": "middle" }, name),
          names.map((text, i) => svg("text", { x: x(i), y: box.bottom + 17, "text-anchor": "middle" }, text)),
          lines.map((row, k) => {
            const shift = (k - (lines.length - 1) / 2) * Math.min(7, 30 / lines.length);
            const dots = names.map((_, i) => [x(i) + shift, value(row, i, name)]).filter(([, v]) => isNumber(v));
            return svg(
              "g",
              { class: markClass(row) },
              svg("path", { class: "curve", "stroke-opacity": 0.55, d: dots.map(([px, v], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${y(v).toFixed(1)}`).join("") }),
              dots.map(([px, v]) => shape(row, px, y(v), 3.4)),
            );
          }),
        );
      }),
    ),
    el("figcaption", null, badge(), " Means over a row’s seeds. No valid object, no AP; * in the table below: fewer than 41."),
    plainTable(
      "Figures as a table",
      ["Run", ...classes().flatMap((c) => names.map((n) => `${c} ${n} m`))],
      lines.map((row) => [
        titleOf(row),
        ...classes().flatMap((c) => names.map((_, k) => cell(row, k, c))),
      ]),
    ),
  );
}
