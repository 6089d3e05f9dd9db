"use strict";
(() => {
  const place = document.getElementById("bubbles").querySelector("[data-figure]");
  const chips = [...document.querySelectorAll("input[name=family]")];
  const everyone = document.getElementById("every-family");
  const said = document.getElementById("families-said");
  const rows = [...document.querySelectorAll("tr[data-family]")];

  // The traces that are no family's, the compared networks and the front, always stay.
  function filter() {
    const wanted = new Set(chips.filter((chip) => chip.checked).map((chip) => chip.value));
    const families = new Set(chips.map((chip) => chip.value));
    const isShown = (family) => wanted.size === 0 || wanted.has(family);
    const visible = place.data.map((trace) => !families.has(trace.name) || isShown(trace.name));
    Plotly.restyle(place, { visible }, place.data.map((_, number) => number));
    for (const row of rows) row.hidden = !isShown(row.dataset.family);
    everyone.disabled = wanted.size === 0;
    said.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} networks shown`;
  }

  chips.forEach((chip) => chip.addEventListener("change", filter));
  everyone.addEventListener("click", () => {
    chips.forEach((chip) => (chip.checked = false));
    filter();
    chips[0].focus();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", filter);
  for (const event of ["beforeprint", "afterprint"]) addEventListener(event, filter);
  filter();
})();
