// Shows the claims that hold every word of the search and have one of the chosen verdicts, and opens what hides them.
(function () {
  "use strict";
  const search = document.getElementById("search"), found = document.getElementById("found");
  const chips = [...document.querySelectorAll(".chip")], claims = [...document.querySelectorAll("tr.claim")];
  const texts = claims.map(row => `${row.closest(".study").dataset.name} ${row.textContent}`.toLowerCase());
  const opened = new Set();

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = chips.filter(chip => chip.getAttribute("aria-pressed") === "true").map(chip => chip.dataset.verdict);
    const active = words.length > 0 || chosen.length > 0;
    let count = 0;
    claims.forEach((row, i) => {
      const holds = words.every(word => texts[i].includes(word)) && (!chosen.length || chosen.includes(row.dataset.verdict));
      row.hidden = active && !holds;
      if (active && holds) for (let box = row.closest("details"); box; box = box.parentElement.closest("details")) open(box);
      count += holds;
    });
    document.body.classList.toggle("filtered", active);
    document.querySelectorAll(".run, .study, .part").forEach(box => {
      const empty = active && !box.querySelector("tr.claim:not([hidden])");
      box.classList.toggle("empty", empty);
    });
    if (!active) { opened.forEach(box => { box.open = false; }); opened.clear(); }
    found.textContent = active ? `${count} of ${claims.length} rows` : `${claims.length} rows`;
  }
  function open(box) {
    if (!box.open) { opened.add(box); box.open = true; }
  }
  search.addEventListener("input", filter);
  chips.forEach(chip => chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    filter();
  }));
  filter();

  // On paper nothing can be opened, so everything is.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(box => { box.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(box => { box.open = false; }));
})();
