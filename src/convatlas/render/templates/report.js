"use strict";
(() => {
  const palettes = JSON.parse(document.getElementById("palettes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const printedWidth = 620;
  const places = [...document.querySelectorAll("[data-figure]")];
  const figures = new Map(
    places.map((place) => [
      place,
      JSON.parse(document.getElementById(place.dataset.figure).textContent),
    ]),
  );

  function paintTrace(trace, palette) {
    if (trace.type === "heatmap") {
      trace.colorscale = palette.confusion;
      trace.textfont.color = palette.text;
      return;
    }
    const colour = palette[trace.meta];
    trace.marker = { ...trace.marker, color: colour };
    if (trace.line) trace.line = { ...trace.line, color: colour };
  }

  function paintLayout(layout, palette) {
    layout.font.color = palette.text;
    layout.hoverlabel = {
      bgcolor: palette.surface,
      bordercolor: palette.muted,
      font: { color: palette.text },
      align: "left",
    };
    for (const [name, axis] of Object.entries(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      axis.gridcolor = axis.linecolor = palette.rule;
    }
    for (const shape of layout.shapes ?? []) shape.line.color = palette[shape.name];
  }

  function draw(place, palette, width) {
    const figure = structuredClone(figures.get(place));
    figure.data.forEach((trace) => paintTrace(trace, palette));
    paintLayout(figure.layout, palette);
    delete figure.layout.height;
    if (width) figure.layout.width = width;
    Plotly.react(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
    // The description says what the drawing shows; its parts would be read out as nameless pictures.
    for (const part of place.children) part.setAttribute("aria-hidden", "true");
  }

  const drawAll = () =>
    places.forEach((place) => draw(place, palettes[dark.matches ? "dark" : "light"]));

  drawAll();
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
  dark.addEventListener("change", drawAll);
  addEventListener("beforeprint", () =>
    places.forEach((place) =>
      draw(place, palettes.light, Math.min(place.clientWidth, printedWidth)),
    ),
  );
  addEventListener("afterprint", drawAll);
})();
