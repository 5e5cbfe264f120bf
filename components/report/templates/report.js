"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const compare = (a, b) => key(a).localeCompare(key(b), undefined, { numeric: false });
    const number = (row) => (key(row) === "" ? -1 : Number(key(row)));
    const order = head.dataset.type === "number" ? (a, b) => number(a) - number(b) : compare;
    const rows = [...table.tBodies[0].rows].sort(order);
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
  }));
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => (d.open = true)));
const panel = document.getElementById("examples");
const cells = document.querySelectorAll("button.cell");
for (const cell of cells) {
  const show = () => {
    if (cell.getAttribute("aria-pressed") === "true") return;
    cells.forEach((other) => other.setAttribute("aria-pressed", String(other === cell)));
    panel.replaceChildren(document.getElementById(cell.dataset.template).content.cloneNode(true));
  };
  for (const event of ["mouseenter", "focus", "click"]) cell.addEventListener(event, show);
}
const save = document.getElementById("save-accepted");
if (save) {
  const accepted = () => [...document.querySelectorAll("input.accept:checked")];
  document.getElementById("labels").addEventListener("change", () => {
    save.disabled = accepted().length === 0;
    document.getElementById("num-accepted").textContent = `${accepted().length} accepted`;
  });
  save.addEventListener("click", () => {
    const lines = [save.dataset.header, ...accepted().map((box) => box.dataset.line + "x"), ""];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n")], { type: "text/csv" }));
    link.download = "label_errors.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
