// Every column's heading becomes a button that sorts its table. Without this script nothing is lost.
// A cell that spans several rows is written out in each of them first, so that every row can move by itself. Numbers
// are compared by what stands at the beginning of a cell ("41.20 ± 0.35 (n=3)"); empty cells come last.
"use strict";
document.querySelectorAll("table").forEach(table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const original = [...body.rows];
  if (original.length < 2) return;
  function writeOut() {
    original.forEach((row, at) => [...row.cells].forEach(cell => {
      const place = [...row.cells].indexOf(cell), span = cell.rowSpan;
      cell.rowSpan = 1;
      for (let below = 1; below < span; below++) {
        const into = original[at + below];
        into.insertBefore(cell.cloneNode(true), into.cells[place] || null);
      }
    }));
  }
  const text = (row, column) => row.cells[column].textContent.trim();
  function number(words) {
    const found = words.replace(/,/g, "").match(/^[+-]?\d+(\.\d+)?/);
    return found ? +found[0] : NaN;
  }
  function sort(column, down) {
    writeOut();
    const numeric = heads[column].classList.contains("number");
    const key = row => numeric ? number(text(row, column)) : text(row, column);
    const empty = value => numeric ? Number.isNaN(value) : value === "" || value === "—";
    const order = (a, b) => numeric ? a - b : a.localeCompare(b, "en", {numeric: true});
    const rows = original.map(row => [key(row), row]);
    rows.sort(([a], [b]) => empty(a) - empty(b) || (empty(a) ? 0 : (down ? -1 : 1) * order(a, b)));
    body.append(...rows.map(([, row]) => row));
  }
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = "Sort by this column";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const next = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach(one => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      sort(column, next === "descending");
    });
  });
});
