"use strict";
(() => {
  const root = document.documentElement;

  // The theme: what the reader's system says, until they choose.
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();

  // Tables: a click on a heading sorts, another turns the order around.
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent : Number(value);
  };
  const compare = (a, b) => {
    const numbers = typeof a === "number" && typeof b === "number";
    if (numbers) return a - b;
    // Words and gaps come after numbers.
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const sort = (table, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const column = heading.cellIndex;
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
    body.append(...rows.map((it) => it[1]));
  };
  const makeSortable = (table) => {
    for (const heading of table.tHead.rows[0].cells) {
      if (heading.firstElementChild === null) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = heading.textContent;
        heading.replaceChildren(button);
      }
      heading.firstChild.addEventListener("click", () => sort(table, heading));
      const first = table.tBodies[0].rows[0];
      if (first && first.cells[heading.cellIndex].classList.contains("number")) {
        heading.classList.add("right");
      }
    }
  };
  document.querySelectorAll(".result-table table").forEach((it) => it.classList.add("sortable"));
  document.querySelectorAll("table.sortable").forEach(makeSortable);

  // A stage of the graph opens what is known of it.
  const open = (hash, focus) => {
    if (!hash.startsWith("#stage-")) return;
    const stage = document.getElementById(decodeURIComponent(hash.slice(1)));
    if (!stage) return;
    stage.open = true;
    stage.scrollIntoView({ block: "nearest" });
    if (focus) stage.querySelector("summary").focus();
  };
  document.querySelectorAll(".dag a").forEach((link) => {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const hash = link.getAttribute("href");
      history.replaceState(null, "", hash);
      open(hash, true);
    });
  });
  addEventListener("hashchange", () => open(location.hash, true));
  open(location.hash, false);

  // The numbers of a figure as a table, made when asked for.
  const numbers = JSON.parse(document.getElementById("numbers").textContent);
  const tableOf = (figure) => {
    const table = document.createElement("table");
    table.className = "sortable";
    table.createCaption().textContent = figure.title;
    const head = table.createTHead().insertRow();
    const empty = figure.header.map((_, at) => figure.rows.every((row) => row[at] === ""));
    figure.header.forEach((name, at) => {
      if (empty[at]) return;
      const heading = document.createElement("th");
      heading.scope = "col";
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.textContent = name;
      heading.append(sorter);
      head.append(heading);
    });
    const body = table.createTBody();
    for (const cells of figure.rows) {
      const row = body.insertRow();
      cells.forEach((text, at) => {
        if (empty[at]) return;
        const cell = row.insertCell();
        cell.textContent = text;
        if (text !== "" && !Number.isNaN(Number(text))) {
          cell.dataset.value = text;
          cell.className = "number";
        }
      });
    }
    makeSortable(table);
    return table;
  };
  document.querySelectorAll("[data-figure]").forEach((element) => {
    const figure = numbers[element.dataset.figure];
    if (!figure) return;
    const asked = document.createElement("button");
    asked.type = "button";
    asked.textContent = "Numbers";
    asked.setAttribute("aria-expanded", "false");
    let box = null;
    asked.addEventListener("click", () => {
      if (!box) {
        box = document.createElement("div");
        box.className = "numbers";
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", "Numbers: " + figure.title);
        box.append(tableOf(figure));
        element.append(box);
      } else {
        box.hidden = !box.hidden;
      }
      asked.setAttribute("aria-expanded", String(!box.hidden));
    });
    element.append(asked);
  });
})();
