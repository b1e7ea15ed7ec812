// The results table and the dialog behind each of its rows.

// How a column of the leaderboard reads, by its kind. A row without the figure shows a dash.
const KINDS = {
  text: () => ({}),
  seeds: () => ({
    number: true,
    value: (row) => row.seeds,
    show: (row) => (row.seeds < row.figures["of seeds"] ? `${row.seeds} of ${row.figures["of seeds"]}` : row.seeds),
  }),
  number: (column) => ({ number: true, show: (row) => fixed(row.figures[column.key], column.digits) }),
  percent: (column) => ({ number: true, show: (row) => fixed(percent(row.figures[column.key]), column.digits) }),
  spread: (column) => ({
    number: true,
    show: (row) => [
      fixed(row.figures[column.key], column.digits),
      bracket(rangeOf(row, column)),
    ],
  }),
  interval: (column) => ({
    number: true,
    show: (row) =>
      row.role === "method" ? [signed(row.figures[column.key], column.digits), bracket(interval(row, column.metric))] : "",
  }),
  rank: (column) => ({
    number: true,
    show: (row) => {
      const [place, low, high] = ["", " low", " high"].map((end) => row.figures[column.key + end]);
      return isNumber(place) ? [String(place), bracket(isNumber(low) ? `${low}–${high}` : "")] : "";
    },
  }),
};
// The interquartile range of a figure, and the mark of one that says little.
function rangeOf(row, column) {
  const iqr = row.figures[`${column.key} iqr`];
  if (!isNumber(iqr)) return "";
  return `iqr ${fixed(iqr, column.digits)}${saysLittle(row, column.key) ? ` ${content.noisy.mark}` : ""}`;
}
const saysLittle = (row, key) => row.figures[`${key} iqr`] > content.noisy.share * row.figures[key];
const percent = (value) => (isNumber(value) ? 100 * value : value);
const bracket = (text) => [" ", el("span", { class: "interval" }, text)];
const titled = (text) => text[0].toUpperCase() + text.slice(1);

const figure = (column) => ({
  key: column.key,
  label: titled(column.key),
  value: (row) => row.figures[column.key],
  ...KINDS[column.kind](column),
  ...(column.key.startsWith("verdict") ? VERDICT : {}),
});

// Columns that show more than their figure.
const NAMED = {
  method: {
    key: "method",
    label: "Method",
    head: true,
    value: nameOf,
    show: (row) => [
      el("button", { type: "button", class: "open", onclick: () => openDetails(row) }, breakable(nameOf(row))),
      row.extrapolated ? " †" : null,
      el("small", { class: "narrow" }, row.student), // where there is no room for its column
    ],
  },
  student: { key: "student", label: "Student", class: "wide", value: (row) => row.student, show: (row) => row.student },
};
const VERDICT = {
  class: "wrap",
  value: (row) => row.verdict,
  show: (row) => el("span", { class: row.outcome }, { better: "▲ ", worse: "▼ " }[row.outcome] || "", row.verdict),
};
const FOREST = { key: "forest", label: "", sortless: true, class: "glyph wide", show: (row) => forest(row, state.metric) };

const measured = (column) => !column.optional || section().rows.some((row) => isNumber(row.figures[column.key]));
const narrowed = (column, shown) => (shown.includes("narrow") ? column : { ...column, class: `${classOf(column)} wide` });
const classOf = (column) => column.class || (column.number ? "number" : "");

const shownIn = (place) =>
  section().columns
    .filter((column) => column.shown.includes(place) && (!column.metric || column.metric === state.metric) && measured(column))
    .flatMap((column) => {
      const one = NAMED[column.key] || figure(column);
      return [place === "overview" ? narrowed(one, column.shown) : one, ...(column.kind === "interval" ? [FOREST] : [])];
    })
    .sort((a, b) => Boolean(b.head) - Boolean(a.head)); // the method comes first

const perClass = () =>
  classes().flatMap((name) =>
    section().levels.map((difficulty, level) => ({
      key: `${name} ${difficulty}`,
      label: difficulty,
      over: name,
      number: true,
      value: (row) => row.details?.[name][state.metric][level],
      show: (row) => (row.details ? fixed(row.details[name][state.metric][level], 1) + (row.details[name].bounded[level] ? "*" : "") : "–"),
    })),
  );

const COLUMNS = {
  Overview: () => shownIn("overview"),
  "Per class": () => [...shownIn("overview").slice(0, 3), figure(section().columns.find((c) => c.key === `${state.metric} mAP`)), ...perClass()],
  Costs: () => shownIn("costs"),
};

// The gain's interval about zero, on one scale for all rows of a section.
function forest(row, metric) {
  const [mean, lowest, highest] = ["", " low", " high"].map((end) => `${metric} gain${end}`);
  const value = row.figures[mean];
  if (row.role !== "method" || !isNumber(value)) return "";
  const reach = Math.max(
    ...section().rows.flatMap((r) => [mean, lowest, highest].map((k) => Math.abs(r.figures[k] || 0))),
    0.1,
  );
  const x = (v) => (60 + (v / reach) * 54).toFixed(1);
  const [low, high] = [row.figures[lowest], row.figures[highest]];
  return svg(
    "svg",
    { viewBox: "0 0 120 18", "aria-hidden": "true", class: low > 0 ? "better" : high < 0 ? "worse" : null },
    svg("line", { class: "zero", x1: 60, x2: 60, y1: 0, y2: 18 }),
    isNumber(low) ? svg("line", { class: "whisker", x1: x(low), x2: x(high), y1: 9, y2: 9 }) : null,
    svg("circle", { class: "dot", cx: x(value), cy: 9, r: 3.2 }),
  );
}

function matches(row) {
  const text = `${nameOf(row)} ${row.student} ${row.verdict}`.toLowerCase();
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return (!state.student || row.student === state.student) && words.every((word) => text.includes(word));
}

function sorted(rows, columns) {
  const column = state.sort && columns.find((c) => c.key === state.sort.key);
  if (!column) return rows;
  const sign = state.sort.descending ? -1 : 1;
  const missing = (value) => value === null || value === undefined || value === "";
  return [...rows].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y); // without a figure: always last
    return sign * (column.number ? x - y : String(x).localeCompare(String(y)));
  });
}

function header(column) {
  const active = state.sort?.key === column.key;
  const order = active ? (state.sort.descending ? "descending" : "ascending") : column.sortless ? null : "none";
  const sort = () => {
    state.sort = { key: column.key, descending: active ? !state.sort.descending : Boolean(column.number) };
    drawTable();
    byId("table").querySelector(`[data-key="${CSS.escape(column.key)}"]`).focus();
  };
  const arrow = el("span", { class: "arrow", "aria-hidden": "true" }, active ? (state.sort.descending ? "▼" : "▲") : "");
  return el(
    "th",
    { scope: "col", class: classOf(column) || null, "aria-sort": order },
    column.sortless
      ? null
      : el("button", { type: "button", class: "sort", "data-key": column.key, onclick: sort }, column.label, arrow),
  );
}

function drawTable() {
  const columns = COLUMNS[state.columns]();
  const rows = sorted(section().rows.filter(matches), columns);
  const over = columns.some((column) => column.over)
    ? el(
        "tr",
        null,
        columns.filter((c) => !c.over).map((c) => el("td", { class: c.class })),
        classes().map((name) => el("th", { class: "span", colspan: section().levels.length, scope: "colgroup" }, `${name} (${state.metric} AP)`)),
      )
    : null;
  byId("table").replaceChildren(
    el(
      "table",
      { class: state.columns.toLowerCase().replace(" ", "-") },
      el("caption", null, el("div", null, `${section().family} on ${section().data.name} `, badge())),
      el("thead", null, over, el("tr", null, columns.map(header))),
      el(
        "tbody",
        null,
        rows.map((row, i) =>
          el(
            "tr",
            { class: [row.role === "method" ? "" : "reference", !state.sort && i && rows[i - 1].student !== row.student ? "group" : ""].join(" ").trim() || null },
            columns.map((column) =>
              el(
                column.head ? "th" : "td",
                { scope: column.head ? "row" : null, class: classOf(column) || null },
                column.show(row),
              ),
            ),
          ),
        ),
      ),
    ),
  );
  markEdges();
  byId("shown").textContent = `${rows.length} of ${section().rows.length} rows`;
  const bounded = section().rows.some((row) => row.details && classes().some((c) => row.details[c].bounded.includes(true)));
  byId("table-note").textContent = [
    state.columns === "Costs" ? "Costs are of the student as deployed; training seconds are means over seeds." : "",
    state.columns === "Costs" && noisyColumns().length
      ? `${content.noisy.mark} says little: the interquartile range (iqr) is more than ${100 * content.noisy.share} % of the median.`
      : "",
    section().rows.some((row) => row.extrapolated) ? "† hyper-parameters without a LiDAR source (extrapolated)." : "",
    bounded && state.columns === "Per class" ? `* bounded: fewer than ${section().enough} valid objects.` : "",
  ].filter(Boolean).join(" ");
  byId("table-note").append(el("span", { class: "narrow" }, "A method’s name opens its rank, seeds, costs and records."));
}

const noisyColumns = () =>
  section().columns.filter((column) => column.kind === "spread" && section().rows.some((row) => saysLittle(row, column.key)));

function drawTableControls() {
  const redraw = (change) => (value) => {
    change(value);
    drawTableControls();
    drawTable();
  };
  const filter = el("input", {
    type: "search",
    id: "filter",
    placeholder: "method, student, verdict",
    value: state.filter,
    oninput: (event) => {
      state.filter = event.target.value;
      drawTable();
    },
  });
  byId("table-controls").replaceChildren(
    toggles("Columns", Object.keys(COLUMNS), state.columns, redraw((v) => { state.columns = v; state.sort = null; })),
    ...(state.columns === "Costs" ? [] : [toggles("Metric", section().metrics, state.metric, redraw((v) => (state.metric = v)))]),
    el("label", null, "Filter", filter),
    ...(students().length > 1
      ? [choice("Student", [["", "all"], ...students().map((s) => [s, s])], state.student, redraw((v) => (state.student = v)))]
      : []),
    el("output", { id: "shown", "aria-live": "polite" }),
  );
}

const facts = (pairs) =>
  el("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== "").map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));

// All digits, selected by one click.
const hash = (text) => (text ? el("span", { class: "mono hash" }, text) : "");

function openDetails(row) {
  const dialog = byId("details");
  const main = mainMetric();
  const close = el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(
    el(
      "div",
      null,
      el("header", null, el("h2", { id: "details-title" }, breakable(titleOf(row))), close),
      badge(),
      facts([
        ...section().metrics.map((metric) => [`${titled(metric)} mAP`, fixed(row.figures[`${metric} mAP`], 2)]),
        [`${titled(main)} gain`, row.role === "method" ? `${signed(row.figures[`${main} gain`], 2)} ${interval(row, main)}` : ""],
        ["Verdict", row.verdict],
        [`Rank (${main})`, isNumber(row.figures[`rank (${main})`]) ? String(row.figures[`rank (${main})`]) : ""],
        ["Seeds", String(row.seeds)],
        ...COSTS.map((column) => [titled(column.key), costText(row, column)]),
      ]),
      el("h3", null, row.cells.length === 1 ? "The record behind this row" : `The ${row.cells.length} records behind this row`),
      row.missing.length ? el("p", null, `No record of seed ${row.missing.join(", ")}.`) : null,
      row.cells.map((cell, i) => provenance(content.cells[cell], i === 0)),
    ),
  );
  dialog.showModal();
  close.focus();
}

function provenance(cell, open) {
  const versions = Object.entries(cell.versions).map(([tool, version]) => `${tool} ${version}`).join(", ");
  const settings = Object.entries(cell.hyperparameters).map(([name, value]) => `${name} = ${value}`).join(", ");
  return el(
    "details",
    { open },
    el("summary", null, `Seed ${cell.seed} · ${cell.status} · ${mainMetric()} mAP ${fixed(cell.mAP, 2)} · `, el("span", { class: "mono" }, cell.cell)),
    cell.reason ? el("p", null, cell.reason) : null,
    facts([
      ["Record", cell.link ? el("a", { href: cell.link }, cell.link) : cell.cell],
      ["Data", `${cell.data.name}, fingerprint ${cell.data.fingerprint}`],
      ["Teacher's record", cell.teacher],
      ["Hyper-parameters", settings + (cell.extrapolated ? " (extrapolated: no LiDAR source gives them)" : "")],
      ["Weighting, factor", cell.weighting + (isNumber(cell.balance) ? `, ${cell.balance}` : "")],
      ["Precision", cell.precision],
      ["Machine", cell.machine],
      ["Threads", String(cell.threads)],
      ["Commit", cell.commit ? [hash(cell.commit), cell.clean === false ? ", changed" : ""] : "unknown"],
      ["Ended", cell.ended],
      ["Versions", versions],
      ["Weights (SHA-256)", hash(cell.weights_sha256)],
      ["Losses (SHA-256)", hash(cell.losses_sha256)],
    ]),
    el("h3", null, "Run it again"),
    el("pre", null, [cell.command, ...cell.needs].join("\n")),
  );
}
