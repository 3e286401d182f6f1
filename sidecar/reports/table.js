"use strict";
// Click on a heading sorts: by data-sort where a cell has it, else by its text. Without this the tables are as rendered.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [left, right] = [key(a), key(b)];
        const [x, y] = [Number(left), Number(right)];
        return Number.isNaN(x) || Number.isNaN(y) ? left.localeCompare(right) : x - y;
      };
      const rows = [...table.tBodies[0].rows].sort(compare);
      table.tBodies[0].append(...(falling ? rows.reverse() : rows));
    });
  });
}
