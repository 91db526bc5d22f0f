// Tables that sort by the header that is pressed. The rows come in order of their ranks.
(() => {
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.sort);
  };
  const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

  for (const table of document.querySelectorAll("table.board")) {
    const headers = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const ranked = [...body.rows];
    const sort = (column) => {
      const header = headers[column];
      const numbers = header.classList.contains("num") && column > 0;
      // Numbers begin with the largest, names and ranks with the first.
      const up = header.ariaSort === "none" ? !numbers : header.ariaSort === "descending";
      for (const other of headers) if (!other.classList.contains("plain")) other.ariaSort = "none";
      header.ariaSort = up ? "ascending" : "descending";
      table.classList.toggle("ranked", column === 0 && up);
      const rows = ranked.map((row, place) => ({ row, place, value: key(row, column) }));
      rows.sort((one, other) => (up ? 1 : -1) * compare(one.value, other.value) || one.place - other.place);
      body.append(...rows.map((one) => one.row));
    };
    headers.forEach((header, column) => {
      if (header.classList.contains("plain")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => sort(column));
      header.replaceChildren(button);
      if (!header.ariaSort) header.ariaSort = "none";
    });
    table.classList.add("ranked");
  }
})();
