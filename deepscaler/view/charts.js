// Curves as SVG, with tables beside them that say the same in numbers.

const WIDTH = 640, HEIGHT = 260, LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 36;

function draw(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Returns a chart: each series has a name and points [x, y] or [x, y, low, high]; a point without y leaves a gap.
function chart(title, series, { xLabel, yLabel, low = 0, high = null, lines = [], dots = false, last = 1 }) {
  const points = series.flatMap((one) => one.points).filter((point) => Number.isFinite(point[1]));
  const most = points.reduce((found, point) => Math.max(found, point[0]), last);
  const top = high ?? nice(points.reduce((found, point) => Math.max(found, point[1], point[3] ?? point[1]), 1e-9));
  const bottom = points.reduce((found, point) => Math.min(found, point[1], point[2] ?? point[1]), low);
  const x = (value) => LEFT + (value / most) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - bottom) / (top - bottom || 1)) * (HEIGHT - TOP - BOTTOM);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const tick of ticks(bottom, top, 4)) svg.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick), class: "grid" }), draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, round(tick)));
  for (const tick of ticks(0, most, 6)) svg.append(draw("text", { x: x(tick), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, count(tick)));
  for (const line of lines.filter((one) => one.x <= most)) svg.append(draw("line", { x1: x(line.x), x2: x(line.x), y1: TOP, y2: HEIGHT - BOTTOM, class: "mark" }), draw("text", { x: x(line.x) + 4, y: TOP + 10 }, line.label));
  series.forEach((one, place) => {
    const own = one.points.filter((point) => Number.isFinite(point[1]));
    const banded = own.filter((point) => point.length > 2);
    if (banded.length > 1) svg.append(draw("path", { class: `band c${place % 7}`, d: `M${[...banded.map((p) => [x(p[0]), y(p[3])]), ...banded.map((p) => [x(p[0]), y(p[2])]).reverse()].join("L")}Z` }));
    if (own.length > 1 && !one.dotted) svg.append(draw("path", { class: `curve c${place % 7}`, d: `M${own.map((p) => [x(p[0]), y(p[1])]).join("L")}` }));
    if (dots || own.length < 2) for (const point of own) svg.append(draw("circle", { class: `point c${place % 7}`, cx: x(point[0]), cy: y(point[1]), r: 3.2 }));
  });
  svg.append(draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, xLabel), draw("text", { x: 12, y: HEIGHT / 2, transform: `rotate(-90 12 ${HEIGHT / 2})`, "text-anchor": "middle" }, yLabel));
  const legend = series.length > 1 ? make("p", { class: "legend" }, ...series.map((one, place) => make("span", { class: `c${place % 7}` }, make("i"), make("bdi", {}, one.name)))) : null;
  return make("figure", {}, make("figcaption", {}, title), svg, legend);
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10].find((step) => step * power >= value * 0.999) * power;
}

function ticks(low, high, about) {
  const step = nice((high - low || 1) / about);
  const found = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) found.push(Number(tick.toPrecision(10)));
  return found;
}

function table(caption, header, rows) {
  return make("div", { class: "scroll" }, make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...header.map((cell) => make("th", { scope: "col" }, cell)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell, place) => (place ? make("td", {}, cell) : make("th", { scope: "row" }, cell))))))));
}

function showBudget(parent, source) {
  const { budgets, curves, marks, tables } = source.budget;
  const names = source.sets.map((one) => one.name);
  const series = names.map((name, set) => ({ name: `${name} (${count(tables[set].length ? tables[set][0][4] : 0)} samples)`, points: budgets.map((budget, place) => [budget, curves[set].length ? curves[set][place] : NaN]) }));
  const rows = names.flatMap((name, set) => tables[set].map(([value, low, high, cut], place) => [name, count(marks[place]), value.toFixed(1), `${low.toFixed(1)} to ${high.toFixed(1)}`, cut.toFixed(1)]));
  parent.replaceChildren(make("h2", {}, "Accuracy against the token budget"),
    make("p", { class: "about" }, "What these samples would score if they were cut at a budget: a response counts if it is correct and no longer than that. A model that was trained for a smaller budget may do better under it."),
    chart("Pass@1 by token budget", series, { xLabel: "tokens a response may have", yLabel: "Pass@1, percent", high: 100, lines: marks.slice(0, -1).filter((mark) => mark >= 8192).map((mark) => ({ x: mark, label: `${mark / 1024}K` })) }),
    table("With 95 % intervals, clustered by problem", ["benchmark", "budget", "Pass@1, %", "interval", "cut off, %"], rows));
}

function lastStep(source) {
  return source.sets.reduce((most, one) => Math.max(most, one.step), 1);
}

function stageLines(source) {
  const seen = new Map();
  for (const one of source.sets) if (!seen.has(one.stage)) seen.set(one.stage, one.step);
  return seen.size > 1 ? [...seen].map(([label, x]) => ({ x, label })) : [];
}

function showSteps(parent, source, open) {
  const { names, rows, intervals } = source.steps;
  const column = (name) => names.indexOf(name);
  const order = source.sets.map((_, set) => set).sort((a, b) => source.sets[a].step - source.sets[b].step || a - b);
  const of = (kind, pick) => order.filter((set) => source.sets[set].kind === kind && rows[set][0] !== null).map((set) => [source.sets[set].step, ...pick(rows[set], set)]);
  const value = (name) => (cells) => [cells[column(name)] ?? NaN];
  const spread = (cells) => { const mean = cells[column("mean reward")], deviation = cells[column("deviation")]; return mean === null ? [NaN] : [mean, mean - deviation, mean + deviation]; };
  const correct = (cells, set) => [cells[column("correct %")] ?? NaN, ...(intervals[set] || [])];
  const options = { xLabel: "step", lines: stageLines(source), last: lastStep(source) };
  const charts = [
    chart("Mean reward of a step's responses, with their spread", [{ name: "rollouts", points: of("rollouts", spread) }], { ...options, yLabel: "reward" }),
    chart("Groups whose responses all got one reward", [{ name: "rollouts", points: of("rollouts", value("one reward %")) }], { ...options, yLabel: "percent", high: 100 }),
  ];
  if (column("mean tokens") >= 0) charts.push(chart("Mean response length", [{ name: "rollouts", points: of("rollouts", value("mean tokens")) }], { ...options, yLabel: "tokens" }));
  if (of("validation", value("correct %")).some((point) => Number.isFinite(point[1]))) charts.push(chart("Correct in validation, with 95 % intervals", [{ name: "validation", points: of("validation", correct) }], { ...options, yLabel: "percent", high: 100, dots: true }));
  const cells = order.map((set) => [make("button", { type: "button", onclick: () => open(set) }, source.sets[set].name), ...rows[set].map((cell) => (cell === null ? "-" : Number.isInteger(cell) ? count(cell) : round(cell)))]);
  parent.replaceChildren(make("h2", {}, "Steps"), make("div", { class: "charts" }, ...charts),
    table("A group is the responses to one prompt in one step. Choose a step to read its responses.", ["step", ...names], cells));
}

// One problem over the steps of a training: its groups, the first step first.
function overSteps(source, problem) {
  const groups = source.groups.filter((one) => one.problem === problem).sort((a, b) => source.sets[a.set].step - source.sets[b.set].step);
  const series = ["rollouts", "validation"].map((kind) => ({ name: kind, points: groups.filter((one) => source.sets[one.set].kind === kind).map((one) => [source.sets[one.set].step, Number.isNaN(one.reward) ? one.rate : one.reward]) })).filter((one) => one.points.length);
  return make("div", { class: "card" }, chart("This problem over the steps: mean reward of its groups", series, { xLabel: "step", yLabel: "reward", high: Math.max(1, ...series.flatMap((one) => one.points.map((point) => point[1]))), lines: stageLines(source), dots: true, last: lastStep(source) }));
}
