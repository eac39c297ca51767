"use strict";
// Tables: sorting by any column, with a mouse or the keyboard, and a download of what is shown as CSV.
const raw = cell => cell.dataset.v ?? cell.textContent.trim();
const number = text => text === "" ? NaN : Number(text);

function compare(a, b) {
  const [x, y] = [number(a), number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b, document.documentElement.lang, {numeric: true});
}

function sort(table, column, down) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map(row => [raw(row.cells[column]), row]);
  rows.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is empty stays last
    return down ? compare(b, a) : compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
  for (const [index, head] of [...table.tHead.rows[0].cells].entries()) {
    if (index === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function csv(table) {
  const quoted = text => /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  const lines = [[...table.tHead.rows[0].cells].map(cell => cell.dataset.c)];
  for (const row of table.tBodies[0].rows) lines.push([...row.cells].map(raw));
  return lines.map(line => line.map(quoted).join(",")).join("\n") + "\n";
}

for (const table of document.querySelectorAll("table.data")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.title = head.dataset.sort;
    button.addEventListener("click", () => sort(table, column, head.getAttribute("aria-sort") === "ascending"));
    head.append(button);
  });
}

for (const button of document.querySelectorAll("button.csv")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(document.getElementById(button.dataset.table))], {type: "text/csv"}));
    link.download = button.dataset.table.replace(/^table-/, "") + ".csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => part.open = true));
