// Puts the page together.

function drawNotices() {
  const synthetic = content.sections.some((s) => s.synthetic);
  const real = content.sections.some((s) => !s.synthetic);
  const wiring = content.sections.some((s) => s.wiring);
  const notice = (title, text) => el("p", { class: "notice", role: "note" }, el("b", null, title), " ", text);
  byId("notices").replaceChildren(
    ...(synthetic
      ? [notice("Synthetic data.", real
          ? "Tables with this mark come from generated frames and say nothing about KITTI."
          : "Every figure on this page comes from generated frames and says nothing about KITTI.")]
      : []),
    ...(wiring ? [notice("Wiring check, numbers rank nothing.", "The smoke profile trains a reduced grid for a few epochs to show that everything is connected.")] : []),
  );
}

function drawSections() {
  if (content.sections.length < 2) return;
  byId("sections").replaceChildren(
    ...content.sections.map((s, i) =>
      el(
        "button",
        {
          type: "button",
          "aria-current": String(i === state.section),
          onclick: () => {
            choose(i);
            byId("sections").children[i].focus();
          },
        },
        s.family,
        el("small", null, `${s.data.name}, ${s.profile.name}, ${s.precision}${s.tuned ? ", tuned" : ""}`),
      ),
    ),
  );
}

function drawSummary() {
  const s = section();
  const methods = s.rows.filter((row) => row.role === "method");
  const count = (outcome) => methods.filter((row) => row.outcome === outcome).length;
  const parts = [
    [count("better"), "better than none"],
    [count("worse"), "worse than none"],
    [count("same"), "not distinguishable from none"],
    [count("undecided"), "without an interval"],
    [count("incomplete"), "incomplete"],
  ].filter(([n]) => n);
  const lacking = s.rows.reduce((sum, row) => sum + row.figures["of seeds"] - row.seeds, 0);
  const verdicts = parts.map(([n, text]) => `${n} ${text}`).join(", ");
  byId("summary").replaceChildren(
    el(
      "p",
      { class: "lead" },
      students().length === 1 ? `${many(methods.length, "method")} on ${students()[0]}` : `${many(methods.length, "pair")} of method and student (${students().join(", ")})`,
      `, ${many(methods.reduce((sum, row) => sum + row.seeds, 0), "distilled cell")}`,
      s.wiring || !verdicts ? "." : `: ${verdicts}.`,
      lacking ? ` ${many(lacking, "cell")} without a figure: see the verdicts.` : "",
    ),
    facts([
      ["Data", `${s.data.name}, ${s.synthetic ? "synthetic" : "real frames"}`],
      ["Frames", `${s.data.train_frames} training, ${s.data.val_frames} validation`],
      ["Fingerprint", el("span", { class: "mono" }, s.data.fingerprint)],
      ["Profile", `${s.profile.name}: ${s.profile.purpose}`],
      ["Grid", s.profile.reduced ? "reduced; objects outside it are ignored" : "full"],
      ["Metric", s.metric],
      ["Precision", s.precision],
      ...(s.tuned ? [["Settings", `tuned: ${s.tuned.trials} trials of each method over ${s.tuned.seeds} seeds (file ${s.tuned.hash})`]] : []),
      ["Machine", s.machines.join("; ")],
      ["Code", s.commits.length > 1 ? `${s.commits.length} commits: ${s.commits.join(", ")}` : `commit ${s.commits[0]}`],
      ["Versions", `mmdet3d ${s.versions.mmdet3d}, torch ${s.versions.torch}`],
    ]),
  );
}

// The teacher, and the first student alone and with its three best methods.
function compareSome() {
  const [rows, figure] = [section().rows, `${mainMetric()} mAP`];
  const mine = rows.filter((row) => row.student === students()[0]);
  const best = mine
    .filter((row) => row.role === "method" && isNumber(row.figures[figure]))
    .sort((a, b) => b.figures[figure] - a.figures[figure])
    .slice(0, 3);
  const chosen = [teacherOf(), mine.find((row) => row.role === "none"), ...best].filter(Boolean);
  state.compared = new Set(chosen.map((row) => row.id));
}

// A score that shows something: networks that trained briefly are sure of nothing.
function startScore() {
  const scores = section().rows.flatMap((row) => Object.values(row.view?.detections || {}).flat().map((box) => box.score));
  state.score = scores.some((score) => score >= 0.3) ? 0.3 : 0.1;
}

function choose(index) {
  const metric = content.sections[index].metrics[0];
  Object.assign(state, { section: index, metric, costMetric: metric, sort: null, filter: "", student: "", loss: "total", sceneRow: null });
  compareSome();
  startScore();
  drawSections();
  drawSummary();
  drawTableControls();
  drawTable();
  drawControls();
  drawComparison();
  drawScenes();
}

function setUpTheme() {
  const root = document.documentElement;
  const stored = (() => {
    try { return localStorage.getItem("pointkd-theme"); } catch { return null; } // refused for files by some browsers
  })();
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => (byId("theme").textContent = dark() ? "Light theme" : "Dark theme");
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("pointkd-theme", root.dataset.theme); } catch { /* it lasts for this visit */ }
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
}

function redrawOnResize() {
  let width = window.innerWidth;
  addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    markEdges();
    drawComparison();
  });
}

function drawMeasured() {
  if (content.sections.length) {
    choose(0);
    redrawOnResize();
  } else {
    // Nothing was trained here: there are only external results.
    for (const part of ["summary", "results", "controls", "cost", "comparison", "scenes"]) byId(part).hidden = true;
  }
}

setUpTheme();
for (const change of ["scroll", "toggle"]) addEventListener(change, markEdges, { capture: true, passive: true });
drawNotices();
drawMeasured();
drawExternal();
markEdges();
