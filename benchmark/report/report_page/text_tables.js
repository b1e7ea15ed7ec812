// Tables whose cells come as text: controls and external results. No row of theirs opens anything.

function drawTextTable(id, rows, heads, show) {
  byId(id).hidden = !rows.length;
  if (!rows.length) return;
  const names = Object.keys(rows[0]);
  const kind = (name) => (heads.includes(name) ? null : /mAP|BEV|gain|seeds|teacher/.test(name) ? "number" : "wrap");
  const cell = (row, name, i) =>
    heads.includes(name)
      ? el("th", { scope: "row" }, show(row[name], i))
      : el("td", { class: kind(name) }, row[name]);
  byId(`${id}-table`).replaceChildren(
    el(
      "table",
      null,
      el("thead", null, el("tr", null, names.map((name) => el("th", { scope: "col", class: kind(name) }, titled(name))))),
      el("tbody", null, rows.map((row, i) => el("tr", null, names.map((name) => cell(row, name, i))))),
    ),
  );
}

const drawControls = () => drawTextTable("controls", section().controls, ["student", "method"], (text) => text);

const drawExternal = () =>
  drawTextTable(
    "external",
    content.external.map((row) => row.shown),
    ["external"],
    (text, i) => el("a", { href: content.external[i].url, rel: "noreferrer" }, text),
  );
