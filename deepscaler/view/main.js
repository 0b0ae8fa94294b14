// What is chosen, and what each control and key does to it.

const byId = (name) => document.getElementById(name);
const NO_FILTER = { text: "", set: "", verdict: "", ended: "", group: "", sort: "", min: -1, max: Infinity, low: 0, high: 1, problem: null };
const FIELDS = ["set", "verdict", "ended", "group", "sort", "min", "max", "low", "high"];
const state = { source: SOURCES[0], row: -1, view: "responses", filter: { ...NO_FILTER }, raw: false, thinking: false, beside: false };
const list = new List(byId("list"), (row) => { state.row = row; showResponse(); });
let hits = null;
let timer = 0;

const KEYS = [
  ["j or ↓", "next response"], ["k or ↑", "previous response"], ["]", "next problem"], ["[", "previous problem"], ["/", "search"],
  ["p", "only this problem, and back"], ["s", "folders side by side"], ["r", "LaTeX as it was written"], ["t", "open or fold the thinking"],
  ["v", "next view"], ["f", "next folder"], ["Esc", "leave a field, clear the filters"], ["?", "this help"],
];
const ACTIONS = {
  j: () => list.go(list.place + 1), ArrowDown: () => list.go(list.place + 1),
  k: () => list.go(list.place - 1), ArrowUp: () => list.go(list.place - 1),
  "]": () => list.go(otherGroup(1)), "[": () => list.go(otherGroup(-1)),
  Home: () => list.go(0), End: () => list.go(list.found.length - 1),
  "/": () => byId("search").focus(),
  p: () => { state.filter.problem = state.filter.problem === null && state.row >= 0 ? state.source.problem[state.row] : null; refresh(); },
  r: () => { state.raw = !state.raw; showResponse(); },
  t: () => { state.thinking = !state.thinking; showResponse(); },
  s: () => { state.beside = !state.beside; showResponse(); },
  v: () => { const all = views(); openView(all[(all.findIndex(([name]) => name === state.view) + 1) % all.length][0]); },
  f: () => openSource(SOURCES[(state.source.number + 1) % SOURCES.length]),
  "?": () => byId("help").showModal(),
  Escape: clearFilters,
};

function views() {
  const found = [["responses", "Responses"]];
  if (state.source.budget) found.push(["budget", "Token budget"]);
  if (state.source.steps) found.push(["steps", "Steps"]);
  return found;
}

function otherGroup(direction) {
  const group = (place) => state.source.groupOf[list.found[place]];
  let place = list.place;
  const here = group(place);
  while (place >= 0 && place < list.found.length && group(place) === here) place += direction;
  return place;
}

function openRow(row) {
  const place = list.found.indexOf(row);
  if (place >= 0) return list.go(place);
  state.row = row;
  clearFilters();
}

function openView(name) {
  state.view = name;
  document.body.dataset.view = name;
  for (const button of byId("views").children) button.setAttribute("aria-pressed", String(button.value === name));
  if (name === "responses") showResponse();
  if (name === "budget") showBudget(byId("view"), state.source);
  if (name === "steps") showSteps(byId("view"), state.source, (set) => { state.filter = { ...NO_FILTER, set: String(set) }; state.row = -1; openView("responses"); fillFields(); refresh(); });
}

function showResponse() {
  if (state.view !== "responses") return;
  history.replaceState(null, "", `#${new URLSearchParams({ source: state.source.number, row: state.row })}`);
  showDetail(byId("view"), state);
}

// Opens a folder; the filters stay as far as they mean the same there.
function openSource(source, row = -1) {
  const kept = source.kind === state.source.kind ? state.filter : NO_FILTER;
  state.source = source;
  state.row = row;
  state.filter = { ...kept, set: "", problem: null };
  document.title = `${printable(source.name)}: responses`;
  for (const button of byId("sources").children) button.setAttribute("aria-pressed", String(Number(button.value) === source.number));
  byId("set-label").textContent = source.kind === "training" ? "Step" : "Benchmark";
  byId("length-legend").textContent = `Length in ${source.unit}`;
  byId("notes").replaceChildren(make("p", { class: "facts" }, Object.entries(source.facts).map(([name, value]) => `${name} ${value}`).join(" · ")), ...source.notes.map((note) => make("p", { class: "note" }, note)));
  const sets = source.sets.map((one, set) => [String(set), one.name]);
  const kinds = source.kind === "training" ? [["rollouts", "all rollouts"], ["validation", "all validations"]] : [];
  byId("set").replaceChildren(...options([["", "all"], ...kinds, ...sets]));
  const counts = new Array(DATA.verdicts.length).fill(0);
  for (const verdict of source.verdict) counts[verdict]++;
  const found = DATA.verdicts.map((name, place) => [name, `${WORDS[name]} (${count(counts[place])})`]).filter((_, place) => counts[place]);
  byId("verdict").replaceChildren(...options([["", "any"], ["any wrong", "any wrong"], ["any undecided", "any undecided"], ...found]));
  byId("views").replaceChildren(...views().map(([name, label]) => make("button", { type: "button", value: name, onclick: () => openView(name) }, label)));
  fillFields();
  openView(views().some(([name]) => name === state.view) ? state.view : "responses");
  updateSearch();
}

function options(pairs) {
  return pairs.map(([value, label]) => make("option", { value }, label));
}

function fillFields() {
  byId("search").value = state.filter.text;
  for (const name of FIELDS) {
    const value = state.filter[name];
    const isPercent = name === "low" || name === "high";
    byId(name).value = value === NO_FILTER[name] ? "" : isPercent ? String(100 * value) : String(value);
    if (byId(name).selectedIndex === -1) byId(name).selectedIndex = 0;
  }
}

function readFields() {
  for (const name of FIELDS) {
    const field = byId(name);
    if (field.type !== "number") { state.filter[name] = field.value; continue; }
    const isPercent = name === "low" || name === "high";
    state.filter[name] = field.value === "" ? NO_FILTER[name] : Number(field.value) / (isPercent ? 100 : 1);
  }
}

function clearFilters() {
  state.filter = { ...NO_FILTER };
  hits = null;
  fillFields();
  refresh();
}

// Shows the rows that pass, and opens the first of them where the one that was open does not.
function refresh() {
  const found = filterRows(state.source, state.filter, hits);
  list.show(state.source, found, state.row);
  byId("count").textContent = `${count(found.length)} of ${count(state.source.numRows)} responses`;
  byId("clear").hidden = Object.entries(NO_FILTER).every(([name, value]) => state.filter[name] === value);
  if (list.place < 0 && found.length) list.go(0);
  else { state.row = list.row(); if (list.place >= 0) list.go(list.place); else showResponse(); }
}

async function updateSearch() {
  const source = state.source, text = state.filter.text;
  if (!text) { hits = null; return refresh(); }
  byId("count").textContent = "Searching ...";
  let found;
  try {
    found = await search(source, text);
  } catch (error) {
    return void (byId("count").textContent = printable(error.message));
  }
  if (source !== state.source || text !== state.filter.text) return;
  hits = found;
  refresh();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const field = event.target.closest("input, select, textarea");
  if (field && event.key === "Escape") { field.blur(); byId("list").focus(); return; }
  if (field || !(event.key in ACTIONS)) return;
  if (event.target.closest("#view") && ["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return; // they scroll there
  event.preventDefault();
  if (["j", "k", "[", "]"].includes(event.key) && state.view !== "responses") openView("responses");
  ACTIONS[event.key]();
}

byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", (event) => {
  clearTimeout(timer);
  if (event.target.id === "search") { timer = setTimeout(() => { state.filter.text = byId("search").value.trim(); updateSearch(); }, 200); return; }
  timer = setTimeout(() => { readFields(); refresh(); }, event.target.type === "number" ? 200 : 0);
});
byId("clear").addEventListener("click", clearFilters);
byId("help-button").addEventListener("click", ACTIONS["?"]);
byId("keys").append(...KEYS.flatMap(([key, about]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, about)]));
byId("sources").append(...SOURCES.map((source) => make("button", { type: "button", value: source.number, title: source.folder, onclick: () => openSource(source) }, make("bdi", {}, source.name), make("small", {}, source.kind))));
document.addEventListener("keydown", onKey);

const asked = new URLSearchParams(location.hash.slice(1));
const first = SOURCES[Number(asked.get("source")) || 0] || SOURCES[0];
const row = Number(asked.get("row") || -1);
openSource(first, row >= 0 && row < first.numRows ? row : -1);
performance.mark("usable");
