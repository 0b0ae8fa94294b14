"use strict";
// The data in the page: columns of numbers, and where texts come from: this page, or the server that sent it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const REMOTE = "version" in DATA;
const CORRECT = DATA.verdicts.indexOf("correct");
const UNGRADED = DATA.verdicts.indexOf("ungraded");
const UNDECIDED = ["timeout", "worker_died", "undecided"].map((name) => DATA.verdicts.indexOf(name));
const KINDS = { set: Int32Array, problem: Int32Array, sample: Int32Array, verdict: Uint8Array, cutOff: Uint8Array, length: Int32Array, reward: Float32Array };
const FORMULAS = new Map(Object.entries(DATA.formulas || {}));
const SOURCES = DATA.sources.map(prepare);

function unpack(text, Kind) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = binary.charCodeAt(place);
  return new Kind(bytes.buffer);
}

// Adds the groups: the responses to one problem in one benchmark or step, which stand beside each other.
function prepare(source, number) {
  const columns = {};
  for (const [name, Kind] of Object.entries(KINDS)) columns[name] = unpack(source.columns[name], Kind);
  const groups = [];
  const groupOf = new Int32Array(source.numRows);
  for (let row = 0; row < source.numRows; row++) {
    const set = columns.set[row], problem = columns.problem[row];
    let group = groups[groups.length - 1];
    if (!group || group.set !== set || group.problem !== problem) {
      group = { set, problem, start: row, end: row, correct: 0, graded: 0, total: 0, lowest: Infinity, highest: -Infinity };
      groups.push(group);
    }
    group.end = row + 1;
    if (columns.verdict[row] !== UNGRADED) group.graded++;
    if (columns.verdict[row] === CORRECT) group.correct++;
    const reward = columns.reward[row];
    group.total += reward;
    group.lowest = Math.min(group.lowest, reward);
    group.highest = Math.max(group.highest, reward);
    groupOf[row] = groups.length - 1;
  }
  for (const group of groups) {
    const size = group.end - group.start;
    group.rate = group.graded ? group.correct / group.graded : NaN;
    group.reward = group.total / size;
    const alike = Number.isNaN(group.reward) ? group.correct === 0 || group.correct === size : group.lowest === group.highest;
    group.same = size > 1 && alike;
  }
  return { ...source, ...columns, number, groups, groupOf, problemByText: new Map(source.problems.map((one, place) => [one.text, place])) };
}

function groupAt(source, row) {
  return source.groups[source.groupOf[row]];
}

// Returns the numbers of the rows that pass a filter. `hits` is a set of rows that hold the text searched for, or null.
function filterRows(source, filter, hits) {
  const inProblem = hits && source.problems.map((one) => (one.id + "\n" + one.text).toLowerCase().includes(filter.text.toLowerCase()));
  const found = [];
  for (let row = 0; row < source.numRows; row++) {
    const group = source.groups[source.groupOf[row]];
    if (filter.problem !== null && group.problem !== filter.problem) continue;
    if (filter.set !== "" && !inSet(source, group.set, filter.set)) continue;
    if (!passesVerdict(source.verdict[row], filter.verdict)) continue;
    if (filter.ended && (filter.ended === "cut") !== Boolean(source.cutOff[row])) continue;
    if (source.length[row] < filter.min || source.length[row] > filter.max) continue;
    if (filter.group && !passesGroup(group, filter.group)) continue;
    if (filter.low > 0 || filter.high < 1) {
      if (!(group.rate >= filter.low && group.rate <= filter.high)) continue;
    }
    if (hits && !hits.has(row) && !inProblem[group.problem]) continue;
    found.push(row);
  }
  const key = { hard: (row) => rank(groupAt(source, row)), easy: (row) => -rank(groupAt(source, row)), long: (row) => -source.length[row], short: (row) => source.length[row] }[filter.sort];
  if (key) found.sort((a, b) => key(a) - key(b) || a - b);
  return found;
}

function rank(group) {
  if (!Number.isNaN(group.rate)) return group.rate;
  return Number.isNaN(group.reward) ? 2 : group.reward;
}

function inSet(source, set, wanted) {
  return wanted === "rollouts" || wanted === "validation" ? source.sets[set].kind === wanted : set === Number(wanted);
}

function passesVerdict(verdict, wanted) {
  if (wanted === "") return true;
  if (wanted === "any wrong") return verdict !== CORRECT && verdict !== UNGRADED && !UNDECIDED.includes(verdict);
  if (wanted === "any undecided") return UNDECIDED.includes(verdict);
  return DATA.verdicts[verdict] === wanted;
}

function passesGroup(group, wanted) {
  if (wanted === "mixed") return !group.same;
  if (wanted === "same") return group.same;
  return group.graded > 0 && group.correct === (wanted === "all" ? group.graded : 0);
}

// Returns the text and numbers of a response.
async function details(source, row) {
  if (!REMOTE) return DATA.details[source.number][row];
  const found = await ask("row", { source: source.number, row });
  for (const [latex, tree] of Object.entries(found.formulas)) FORMULAS.set(latex, tree);
  return found;
}

// Returns the set of rows whose response holds a text.
async function search(source, text) {
  if (REMOTE) return new Set(await ask("search", { source: source.number, text }));
  const wanted = text.toLowerCase();
  const found = new Set();
  DATA.details[source.number].forEach((one, row) => { if (one.text.toLowerCase().includes(wanted)) found.add(row); });
  return found;
}

async function ask(name, parameters) {
  const answer = await fetch(`${name}?${new URLSearchParams({ version: DATA.version, ...parameters })}`);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}
