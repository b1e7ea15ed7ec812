// Elements, numbers and what the page is set to. Text from records only ever becomes a text node.

const content = JSON.parse(document.getElementById("content").textContent);
// Views hold AP by KITTI's rules at several distances, whatever the metric of the table.
const VIEWED = ["3D", "BEV"];

const state = {
  section: 0,
  columns: "Overview",
  metric: "",
  sort: null,
  filter: "",
  student: "",
  cost: "GFLOPs",
  costMetric: "",
  compared: new Set(),
  loss: "total",
  distanceMetric: VIEWED[0],
  frame: 0,
  sceneStudent: "",
  sceneRow: null,
  score: 0.3,
};

const section = () => content.sections[state.section];
const classes = () => section().classes;
const mainMetric = () => section().metrics[0];
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const isNumber = (value) => typeof value === "number";
const fixed = (value, digits) => (isNumber(value) ? value.toFixed(digits) : "–");
const signed = (value, digits) =>
  isNumber(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : "–";
const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const interval = (row, metric) => {
  const [low, high] = [row.figures[`${metric} gain low`], row.figures[`${metric} gain high`]];
  return isNumber(low) ? `[${signed(low, 2)}, ${signed(high, 2)}]` : "";
};
// A name that may be broken after its joints, and within words that no narrow column holds.
const breakable = (text) =>
  text.split(/(?<=[:_=(,/])/).flatMap((word) => word.match(/.{1,12}/gsu)).flatMap((part, i) => (i ? [el("wbr"), part] : [part]));
const nameOf = (row) => (row.role === "teacher" ? "teacher" : row.method);
const titleOf = (row) => (row.role === "teacher" ? `${row.student} (teacher)` : `${row.method} on ${row.student}`);
const students = () => [...new Set(section().rows.filter((r) => r.role !== "teacher").map((r) => r.student))];
const teacherOf = () => section().rows.find((row) => row.role === "teacher");

function choice(label, options, value, choose) {
  return el(
    "label",
    null,
    label,
    el(
      "select",
      { onchange: (event) => choose(event.target.value) },
      options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
    ),
  );
}

// Buttons of which one is pressed. Clicking redraws, so the focus is put back on the new button.
function toggles(label, options, value, choose) {
  return el(
    "div",
    { class: "switch", role: "group", "aria-label": label },
    options.map((option) =>
      el(
        "button",
        {
          type: "button",
          "aria-pressed": String(option === value),
          onclick: (event) => {
            const place = event.target.closest("[id]").id;
            choose(option);
            const again = [...byId(place).querySelectorAll(".switch button")];
            again.find((b) => b.textContent === option && b.parentNode.getAttribute("aria-label") === label)?.focus();
          },
        },
        option,
      ),
    ),
  );
}

function plainTable(summary, headers, rows) {
  return el(
    "details",
    { class: "plain" },
    el("summary", null, summary),
    el(
      "div",
      { class: "edge" },
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          null,
          el("thead", null, el("tr", null, headers.map((h, i) => el("th", { scope: "col", class: i ? "number" : null }, h)))),
          el(
            "tbody",
            null,
            rows.map(([first, ...rest]) =>
              el("tr", null, el("th", { scope: "row" }, first), rest.map((v) => el("td", { class: "number" }, v))),
            ),
          ),
        ),
      ),
    ),
  );
}

// Shows at the right edge of every box that scrolls sideways whether there is more of it.
function markEdges() {
  document.querySelectorAll(".edge").forEach((edge) => {
    const { scrollWidth, clientWidth, scrollLeft } = edge.firstElementChild;
    edge.classList.toggle("more", scrollWidth - clientWidth - scrollLeft > 1);
  });
}

// What every table and figure says of its data.
const badge = () => {
  const said = [section().synthetic ? "synthetic data" : "", section().wiring ? "wiring check, numbers rank nothing" : ""];
  const text = said.filter(Boolean).join(" · ");
  return text ? el("span", { class: "badge" }, text) : null;
};
