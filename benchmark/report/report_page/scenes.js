// A few validation frames from above: points, objects and what each network detects.

const seen = (row) => row?.view;

function drawScenes() {
  const place = byId("scenes-figure");
  const viewed = students().filter((s) => section().rows.some((r) => r.student === s && seen(r)));
  if (!viewed.length) {
    byId("scenes-controls").replaceChildren();
    place.replaceChildren(el("p", { class: "note" }, "The records of this table have no views: cells published by an older version, or a folder of records alone."));
    return;
  }
  if (!viewed.includes(state.sceneStudent)) state.sceneStudent = viewed[0];
  const mine = section().rows.filter((r) => r.student === state.sceneStudent && seen(r));
  const distilled = mine.filter((r) => r.role === "method");
  const chosen = distilled.find((r) => r.id === state.sceneRow) || distilled[0];
  const rows = [teacherOf(), mine.find((r) => r.role === "none"), chosen].filter(seen);
  const view = rows[rows.length - 1].view;
  const frames = Object.keys(view.detections).filter((id) => content.frames[view.fingerprint]?.[id]);
  if (!frames.length) {
    byId("scenes-controls").replaceChildren();
    place.replaceChildren(el("p", { class: "note" }, "The frames of these views are not in this folder."));
    return;
  }
  const frame = frames[Math.min(state.frame, frames.length - 1)];
  drawSceneControls(frames, frame, viewed, distilled, chosen);
  const scene = content.frames[view.fingerprint][frame];
  place.replaceChildren(
    el("p", { class: "legend" }, key("object", "object"), key("detection", "detection"), badge()),
    el("div", { class: "panels" }, rows.map((row) => panel(row, scene, frame))),
    el(
      "p",
      { class: "note" },
      "x ahead is up, in metres; rings every 10 m. Weights of the first seed. Points are thinned; objects include those that count at no difficulty.",
    ),
  );
}

function drawSceneControls(frames, frame, viewed, distilled, chosen) {
  const again = (change) => (value) => {
    change(value);
    drawScenes();
  };
  const slider = el("input", {
    type: "range", min: 0.1, max: 0.9, step: 0.05, value: state.score, "aria-label": "Minimum score shown",
    oninput: (event) => {
      state.score = Number(event.target.value);
      drawScenes();
      byId("scenes-controls").querySelector("input").focus();
    },
  });
  byId("scenes-controls").replaceChildren(
    toggles("Frame", frames, frame, again((v) => (state.frame = frames.indexOf(v)))),
    ...(viewed.length > 1 ? [choice("Student", viewed.map((s) => [s, s]), state.sceneStudent, again((v) => (state.sceneStudent = v)))] : []),
    ...(distilled.length ? [choice("Distilled by", distilled.map((r) => [String(r.id), r.method]), String(chosen.id), again((v) => (state.sceneRow = Number(v))))] : []),
    el("label", null, "Score at least", slider, el("span", null, state.score.toFixed(2))),
  );
}

const key = (kind, text) =>
  el("span", { class: "key" }, svg("svg", { viewBox: "0 0 24 14", "aria-hidden": "true" }, svg("rect", { class: kind, x: 2, y: 2, width: 20, height: 10 })), text);

function panel(row, scene, frame) {
  const boxes = (row.view.detections[frame] || []).filter((b) => b.score >= state.score);
  const name = row.role === "teacher" ? "Teacher" : row.role === "none" ? "Student alone" : row.method;
  const text = `${many(scene.objects.length, "object")}, ${many(boxes.length, "detection")} with a score of at least ${state.score.toFixed(2)}`;
  return el(
    "figure",
    { class: "panel" },
    el("h3", null, name, " ", el("small", null, row.student)),
    drawing(row, scene, boxes, `Frame ${frame} from above, ${titleOf(row)}: ${text}`),
    el("figcaption", null, text),
  );
}

function drawing(row, scene, boxes, label) {
  const [x0, y0, x1, y1] = row.view.range;
  const across = y1 - y0;
  const scale = 320 / across;
  const px = (y) => (y1 - y) * scale; // y points left
  const py = (x) => (x1 - x) * scale; // x points up
  const height = (x1 - x0) * scale;
  const inside = (x, y) => x >= x0 && x <= x1 && y >= y0 && y <= y1;
  const dots = [];
  for (let i = 0; i < scene.points.length; i += 2) {
    const [x, y] = [scene.points[i], scene.points[i + 1]];
    if (inside(x, y)) dots.push(`M${px(y).toFixed(1)} ${py(x).toFixed(1)}h0`);
  }
  const rings = [];
  for (let r = 10; r < Math.hypot(x1, across / 2); r += 10) rings.push(r);
  const clip = `clip-${row.id}`;
  const outline = (kind, title) => (item) => {
    const [x, y] = item.box;
    if (!inside(x, y)) return null;
    return svg("path", { class: kind, d: polygon(item.box, px, py) }, svg("title", null, title(item)));
  };
  return svg(
    "svg",
    { viewBox: `0 0 320 ${height.toFixed(1)}`, role: "img", "aria-label": label },
    svg("clipPath", { id: clip }, svg("rect", { width: 320, height, rx: 6 })),
    svg(
      "g",
      { "clip-path": `url(#${clip})` },
      svg("rect", { class: "ground", width: 320, height }),
      rings.map((r) => [
        svg("circle", { class: "ring-line", cx: px(0), cy: py(0), r: r * scale }),
        svg("text", { x: px(0) + r * scale * Math.sin(0.5) + 3, y: py(0) - r * scale * Math.cos(0.5) }, `${r} m`),
      ]),
      svg("path", { class: "cloud", d: dots.join("") }),
      scene.objects.map(outline("object", (o) => o.class)),
      boxes.map(outline("detection", (b) => `${b.class}, score ${b.score.toFixed(2)}`)),
    ),
  );
}

// The outline of a box, with a line from its middle to its front.
function polygon([x, y, length, width, yaw], px, py) {
  const [cos, sin] = [Math.cos(yaw), Math.sin(yaw)];
  const at = (a, b) => {
    const [u, v] = [(a * length) / 2, (b * width) / 2];
    return `${px(y + u * sin + v * cos).toFixed(1)} ${py(x + u * cos - v * sin).toFixed(1)}`;
  };
  return `M${at(1, 1)}L${at(1, -1)}L${at(-1, -1)}L${at(-1, 1)}ZM${at(0, 0)}L${at(1, 0)}`;
}
