"use strict";
(() => {
  const model = JSON.parse(document.getElementById("model").textContent);
  const { networks, columns, sliders } = model;
  const element = (id) => document.getElementById(id);
  const inputs = sliders.map((_, number) => element(`slider-${number}`));
  const outputs = sliders.map((_, number) => element(`output-${number}`));
  const objectives = [...document.querySelectorAll("input[name=objective]")];
  const chart = element("chart");
  const known = (value) => value !== undefined;
  const spoken = { max: "at most", min: "at least" };
  let state;
  let speaking;

  // What a network has left of a limit, as a share of it; below 0 it is beyond, null is unknown.
  function room(network, slider, stop) {
    const value = network.values[slider.figure];
    if (!known(value)) return null;
    return (slider.floor ? value - stop.value : stop.value - value) / stop.value;
  }

  function limitsNow() {
    return sliders
      .map((slider, number) => ({ slider, stop: slider.stops[Number(inputs[number].value)] }))
      .filter(({ stop }) => stop.value !== null);
  }

  function judge(network, limits) {
    const rooms = limits.map(({ slider, stop }) => ({
      slider,
      stop,
      left: room(network, slider, stop),
    }));
    const broken = rooms.filter(({ left }) => left === null || left < 0);
    const tightest = rooms
      .filter(({ left }) => left !== null)
      .reduce((least, each) => (least === null || each.left < least.left ? each : least), null);
    return { network, broken, tightest };
  }

  const top1 = (network) => network.values.top1 ?? -1;
  const macs = (network) => network.values.macs;
  const orders = {
    "published accuracy": (a, b) => top1(b) - top1(a) || macs(a) - macs(b),
    "fewest MACs": (a, b) => macs(a) - macs(b) || top1(b) - top1(a),
    time: (a, b) => {
      const untimed = [a, b].map((each) => Number(!known(each.values.latency_ms)));
      const later = (a.values.latency_ms ?? 0) - (b.values.latency_ms ?? 0);
      return untimed[0] - untimed[1] || later || macs(a) - macs(b) || top1(b) - top1(a);
    },
  };

  // How far each is from the most accurate and the cheapest at once; see docs/choosing.md.
  function compromise(some) {
    const front = frontOf(some);
    if (front.length === 0) return () => 0;
    const [first, last] = [front[0], front[front.length - 1]];
    const points = top1(last) - top1(first) || 1;
    const decades = Math.log(macs(last)) - Math.log(macs(first)) || 1;
    return (network) =>
      known(network.values.top1)
        ? (top1(last) - top1(network)) / points +
          (Math.log(macs(network)) - Math.log(macs(first))) / decades
        : Number.MAX_VALUE;
  }

  // The same order as that of the command line; its name goes into the sentence.
  function ranking(objective, some) {
    if (objective === "balanced") {
      const far = compromise(some);
      return ["balance of accuracy and cost", (a, b) => far(a) - far(b) || macs(a) - macs(b)];
    }
    const timed = some.some((network) => known(network.values.latency_ms));
    let name = objective === "latency" || model.few ? "fewest MACs" : "published accuracy";
    if (objective === "latency" && timed) name = "time";
    return [name, orders[name]];
  }

  function beats(one, other) {
    const gains = [top1(one) - top1(other), macs(other) - macs(one)];
    const times = [one, other].map((network) => network.values.latency_ms);
    if (times.every(known)) gains.push(times[1] - times[0]);
    return Math.min(...gains) >= 0 && Math.max(...gains) > 0;
  }

  function paretoOf(some) {
    const rivals = some.filter((network) => known(network.values.top1));
    return new Set(rivals.filter((one) => !rivals.some((other) => beats(other, one))));
  }

  // Nothing among them has at least the accuracy for at most the MACs.
  function frontOf(some) {
    let best = -1;
    const front = [];
    for (const network of [...some].sort((a, b) => macs(a) - macs(b) || top1(b) - top1(a))) {
      if (top1(network) > best && known(network.values.top1)) {
        front.push(network);
        best = top1(network);
      }
    }
    return front;
  }

  function look() {
    const limits = limitsNow();
    const judged = networks.map((network) => judge(network, limits));
    const objective = objectives.find((each) => each.checked).value;
    const within = judged.filter(({ broken }) => broken.length === 0);
    const inside = within.map(({ network }) => network);
    const [by, order] = ranking(objective, inside);
    within.sort((a, b) => order(a.network, b.network));
    const [front, pareto] = [frontOf(inside), paretoOf(inside)];
    const beyond = judged.filter(({ broken }) => broken.length > 0);
    return { limits, objective, by, within, beyond, front, pareto, best: within[0]?.network ?? null };
  }

  function times(ratio) {
    return `${ratio < 1 ? ratio.toPrecision(2) : ratio.toFixed(ratio < 10 ? 1 : 0)}× the MACs`;
  }

  // How far a network is off as a ratio; for the accuracy, its error over the largest allowed.
  function excess(network, { slider, stop }) {
    const value = network.values[slider.figure];
    if (!known(value)) return Infinity;
    return slider.floor ? (100 - value) / Math.max(100 - stop.value, 1e-3) : value / stop.value;
  }

  // The network that misses by the smallest factor, and what each of its limits would have to be.
  function nearestMiss() {
    const missed = ({ network, broken }) =>
      Math.max(...broken.map((each) => excess(network, each)));
    const [nearest] = [...state.beyond].sort((a, b) => missed(a) - missed(b));
    const needs = nearest.broken.map(({ slider }) => {
      const text = nearest.network.texts[slider.figure] ?? "unknown";
      return `${slider.words} ${text}`;
    });
    return `No network is within these limits. The nearest is ${nearest.network.name}: ${needs.join(", ")}.`;
  }

  function sentence() {
    const { best, within } = state;
    if (best === null) return nearestMiss();
    const among = within.length === 1 ? "the only network" : `the best of ${within.length} networks`;
    const rank = within.length === 1 ? "" : ` by ${state.by}`;
    const figures = [`${best.texts.macs} MACs`, `${best.texts.params} parameters`];
    if (best.texts.top1) figures.unshift(`top\u20111 ${best.texts.top1}`);
    if (best.texts.latency_ms) figures.push(best.texts.latency_ms);
    return `${best.name} is ${among} within these limits${rank}: ${figures.join(", ")}.`;
  }

  function neighbours() {
    const { best } = state;
    if (best === null || !known(best.values.top1)) return [];
    const said = [];
    const all = frontOf(networks);
    const more = all.find((each) => top1(each) > top1(best) + 0.05);
    const less = [...state.front].reverse().find((each) => macs(each) < macs(best));
    const inside = new Set(state.within.map(({ network }) => network));
    for (const each of [more, less]) {
      if (!each) continue;
      const gain = top1(each) - top1(best);
      const sign = gain < 0 ? "−" : "+";
      const where = inside.has(each) ? "" : ", beyond the limits";
      said.push(
        `${each.name}: ${sign}${Math.abs(gain).toFixed(1)} points for ${times(macs(each) / macs(best))}${where}`,
      );
    }
    return said;
  }

  function command() {
    const words = state.limits.map(({ slider, stop }) => `${slider.flag} ${stop.raw}`);
    if (state.objective !== "accuracy") words.push(`--objective ${state.objective}`);
    return [model.command, ...words].join(" ");
  }

  function cell(kind, text, className) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (className) made.className = className;
    if (kind === "th") made.scope = "row";
    return made;
  }

  function row({ network, tightest }) {
    const line = document.createElement("tr");
    if (network === state.best) line.className = "chosen";
    const name = cell("th", "");
    if (state.pareto.has(network)) {
      const mark = cell("span", "◆", "mark");
      mark.title = "in the Pareto set";
      name.append(mark, " ");
    }
    name.append(network.name);
    const figures = columns.map(({ figure }) => cell("td", network.texts[figure] ?? "–", "number"));
    const left = tightest ? `${Math.round(100 * tightest.left)} % ${tightest.slider.short}` : "–";
    line.append(name, ...figures, cell("td", left, "number"));
    return line;
  }

  function beyondRow({ network, broken }) {
    const line = document.createElement("tr");
    const why = broken.map(({ slider, stop }) => {
      const has = network.texts[slider.figure] ?? "unknown";
      return `${slider.words} ${has}, ${spoken[slider.floor ? "min" : "max"]} ${stop.text}`;
    });
    line.append(cell("th", network.name), cell("td", why.join("; ")));
    return line;
  }

  const namespace = "http://www.w3.org/2000/svg";
  function shape(kind, attributes, text) {
    const made = document.createElementNS(namespace, kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    chart.append(made);
    return made;
  }

  const published = networks.filter((network) => known(network.values.top1));
  const logs = published.map((network) => Math.log10(macs(network)));
  const scores = published.map(top1);
  const edges = {
    left: Math.min(...logs) - 0.12,
    right: Math.max(...logs) + 0.12,
    low: Math.floor(Math.min(...scores) / 5) * 5,
    high: Math.ceil((Math.max(...scores) + 0.5) / 5) * 5,
  };
  const margins = { left: 44, right: 14, top: 14, bottom: 46 };

  function scale() {
    const { width, height } = chart.getBoundingClientRect();
    const across = Math.max(width - margins.left - margins.right, 50);
    const down = Math.max(height - margins.top - margins.bottom, 50);
    return {
      width,
      height,
      x: (value) => margins.left + (across * (Math.log10(value) - edges.left)) / (edges.right - edges.left),
      y: (value) => margins.top + (down * (edges.high - value)) / (edges.high - edges.low),
    };
  }

  function drawAxes({ width, height, x, y }) {
    const foot = height - margins.bottom;
    const step = edges.high - edges.low > 30 ? 10 : edges.high - edges.low > 8 ? 5 : 1;
    for (let score = Math.ceil(edges.low / step) * step; score <= edges.high; score += step) {
      shape("line", { class: "grid", x1: margins.left, x2: width - margins.right, y1: y(score), y2: y(score) });
      shape("text", { x: margins.left - 8, y: y(score) + 4, "text-anchor": "end" }, `${score} %`);
    }
    let free = -Infinity;
    for (const tick of model.ticks) {
      const place = x(tick.value);
      shape("line", { class: "grid", x1: place, x2: place, y1: foot, y2: foot + 5 });
      if (place < free) continue;
      shape("text", { x: place, y: foot + 20, "text-anchor": "middle" }, tick.text);
      free = place + 46;
    }
    shape("text", { x: (margins.left + width - margins.right) / 2, y: foot + 40, "text-anchor": "middle" }, "MACs of one image");
  }

  // A name stands right, left, above or below its point, where nothing else is, or nowhere.
  function nameBeside(network, place, taken, className, must) {
    const long = 7.1 * network.name.length;
    const spots = [
      [place.x + 11, place.y - 7],
      [place.x - 11 - long, place.y - 7],
      [place.x + 11, place.y + 11],
      [place.x - 11 - long, place.y + 11],
      [place.x - long / 2, place.y - 24],
      [place.x - long / 2, place.y + 22],
    ].map(([left, top]) => ({ left, top: top - 5, right: left + long, bottom: top + 11 }));
    const inside = (box) => box.left > margins.left && box.right < place.width - 2 && box.top > 0;
    const apart = (a, b) =>
      a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top;
    const fits = spots.filter(inside);
    const box = fits.find((spot) => taken.every((other) => apart(spot, other))) ?? (must ? fits[0] ?? spots[0] : null);
    if (box) shape("text", { class: className, x: box.left, y: box.top + 13 }, network.name);
    return box;
  }

  function drawNetworks(to) {
    const spot = (network) => ({ x: to.x(macs(network)), y: to.y(top1(network)), width: to.width });
    for (const { network } of state.beyond) {
      if (!known(network.values.top1)) continue;
      const { x, y } = spot(network);
      shape("circle", { class: "beyond", cx: x, cy: y, r: 3 });
    }
    for (const { network } of state.within) {
      if (!known(network.values.top1)) continue;
      const { x, y } = spot(network);
      shape("circle", { class: "within", cx: x, cy: y, r: 4.5 });
    }
    const corners = state.front.map(spot);
    const path = corners.map(({ x, y }, number) => (number ? `H${x}V${y}` : `M${x} ${y}`)).join("");
    if (path) shape("path", { class: "front", d: path });
    for (const { x, y } of corners) {
      shape("path", { class: "corner", d: `M${x} ${y - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5z` });
    }
    const around = (each, radius) => ({
      left: each.x - radius,
      right: each.x + radius,
      top: each.y - radius,
      bottom: each.y + radius,
    });
    const inside = state.within.map(({ network }) => network).filter(({ values }) => known(values.top1));
    const taken = inside.map((network) => around(spot(network), 4));
    corners.slice(1).forEach(({ x, y }, number) => {
      const before = corners[number];
      taken.push({ left: before.x, right: x, top: before.y - 2, bottom: before.y + 2 });
      taken.push({ left: x - 2, right: x + 2, top: y, bottom: before.y });
    });
    // A name above the point of another would be read as its name.
    const apart = (network) => [
      ...taken,
      ...state.front.filter((each) => each !== network).map((each) => around(spot(each), 10)),
    ];
    const name = (network, className, must) => {
      const box = nameBeside(network, spot(network), apart(network), className, must);
      if (box) taken.push(box);
    };
    const { best } = state;
    if (best !== null && known(best.values.top1)) {
      const { x, y } = spot(best);
      shape("circle", { class: "best", cx: x, cy: y, r: 7 });
      name(best, "name", true);
    }
    for (const network of [...state.front].reverse()) {
      if (network !== best) name(network, "named", false);
    }
  }

  function draw() {
    chart.replaceChildren();
    if (published.length === 0) return;
    const to = scale();
    chart.setAttribute("viewBox", `0 0 ${to.width} ${to.height}`);
    drawAxes(to);
    drawNetworks(to);
    const front = state.front.map((network) => network.name).join(", ");
    chart.setAttribute(
      "aria-label",
      `Top-1 accuracy over MACs: ${state.within.length} of ${networks.length} networks are within the limits. ` +
        `On the Pareto line: ${front || "none"}. The numbers are in the table below.`,
    );
  }

  function point(event) {
    const to = scale();
    const frame = chart.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    const away = (network) => Math.hypot(to.x(macs(network)) - x, to.y(top1(network)) - y);
    const nearest = [...published].sort((a, b) => away(a) - away(b))[0];
    chart.querySelector(".ring")?.remove();
    if (!nearest || away(nearest) > 22) return;
    shape("circle", { class: "ring", cx: to.x(macs(nearest)), cy: to.y(top1(nearest)), r: 9 });
    const told = columns
      .filter(({ figure }) => nearest.texts[figure])
      .map(({ figure, short }) => `${short} ${nearest.texts[figure]}`);
    const from = nearest.source ? ` (accuracy: ${nearest.source})` : "";
    element("pointed").textContent = `${nearest.name}: ${told.join(", ")}${from}`;
  }

  // A screen reader would read every step of a moving slider: it hears where the slider came to rest.
  function say(text) {
    clearTimeout(speaking);
    speaking = setTimeout(() => (element("answer").textContent = text), 120);
  }

  function update() {
    sliders.forEach((slider, number) => {
      const { text } = slider.stops[Number(inputs[number].value)];
      outputs[number].textContent = text;
      inputs[number].setAttribute("aria-valuetext", text);
    });
    state = look();
    element("best").textContent = state.best?.name ?? "None fits";
    say(sentence());
    element("rows").replaceChildren(...state.within.map(row));
    element("beyond").replaceChildren(...state.beyond.map(beyondRow));
    element("beyond-count").textContent = `${state.beyond.length} networks beyond the limits`;
    element("neighbours").replaceChildren(...neighbours().map((text) => cell("li", text)));
    element("command").textContent = command();
    draw();
  }

  function move(places, objective) {
    inputs.forEach((input, number) => (input.value = places[number]));
    for (const each of objectives) each.checked = each.value === objective;
    update();
  }

  inputs.forEach((input) => input.addEventListener("input", update));
  objectives.forEach((each) => each.addEventListener("change", update));
  element("sliders").addEventListener("submit", (event) => event.preventDefault());
  element("as-asked").addEventListener("click", () =>
    move(sliders.map(({ start }) => start), model.objective),
  );
  element("no-limits").addEventListener("click", () =>
    move(sliders.map(({ free }) => free), state.objective),
  );
  for (const event of ["pointermove", "click"]) chart.addEventListener(event, point);
  addEventListener("resize", draw);
  for (const event of ["beforeprint", "afterprint"]) addEventListener(event, draw);
  update();
})();
