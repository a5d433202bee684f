// The name of its column at each cell, which docs.css shows on a phone.
addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.docutils")) {
    const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, number) => {
        if (names[number]) cell.dataset.column = names[number];
      });
    }
  }
  for (const drawing of document.querySelectorAll(".drawing")) drawing.tabIndex = 0; // to scroll by keyboard
});
