// The table of external results. They have no records, so no row opens anything.

function drawExternal() {
  const rows = content.external;
  byId("external").hidden = !rows.length;
  if (!rows.length) return;
  const names = Object.keys(rows[0].shown);
  const kind = (name) => (/mAP|BEV/.test(name) ? "number" : name === "external" ? null : "wrap");
  byId("external-table").replaceChildren(
    el(
      "table",
      null,
      el("thead", null, el("tr", null, names.map((name) => el("th", { scope: "col", class: kind(name) }, titled(name))))),
      el(
        "tbody",
        null,
        rows.map((row) =>
          el(
            "tr",
            null,
            names.map((name) =>
              name === "external"
                ? el("th", { scope: "row" }, el("a", { href: row.url, rel: "noreferrer" }, row.shown[name]))
                : el("td", { class: kind(name) }, row.shown[name]),
            ),
          ),
        ),
      ),
    ),
  );
}
