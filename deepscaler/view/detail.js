// One response, or the responses of several folders to the same problem side by side.

const REASONS = {
  correct: "The last box equals the gold.",
  wrong: "The last box differs from the gold.",
  no_box: "There is no \\boxed{} in the answer.",
  no_think_end: "The response never stopped thinking: there is no </think>.",
  timeout: "The comparison took too long: undecided, counted as wrong.",
  worker_died: "The process that compared died: undecided, counted as wrong.",
  undecided: "The comparison took too long, or a reward function failed: undecided.",
  ungraded: "Nobody has graded this response.",
};

// Returns the folders that have the problem of a row, each with its group for it: the same sample where there is one.
function counterparts(source, row) {
  const text = source.problems[source.problem[row]].text;
  return SOURCES.flatMap((other) => {
    if (other === source) return [{ source, row }];
    const problem = other.problemByText.get(text);
    if (problem === undefined) return [];
    const group = other.groups.findLast((one) => one.problem === problem);
    return group ? [{ source: other, row: Math.min(group.end - 1, group.start + source.sample[row]) }] : [];
  });
}

async function showDetail(parent, state) {
  const { source, row } = state;
  const turn = (state.turn = (state.turn || 0) + 1);
  if (row < 0) return void parent.replaceChildren(make("p", { class: "empty" }, source.numRows ? "No response passes the filters." : "There are no responses."));
  const others = counterparts(source, row);
  const columns = state.beside && others.length > 1 ? others : [{ source, row }];
  let found;
  try {
    found = await Promise.all(columns.map((one) => details(one.source, one.row)));
  } catch (error) {
    if (turn === state.turn) parent.replaceChildren(make("p", { class: "empty" }, error.message));
    return;
  }
  if (turn !== state.turn) return; // another response was asked for meanwhile
  const problem = source.problems[source.problem[row]];
  parent.replaceChildren(
    make("div", { class: "title" }, make("h2", {}, make("bdi", {}, problem.id)), buttons(state, others.length)),
    problemBox(problem, state),
    ...(state.filter.problem !== null && source.kind === "training" ? [overSteps(source, state.filter.problem)] : []),
    make("div", { class: columns.length > 1 ? "columns" : "" }, ...columns.map((one, place) => column(one, found[place], state, columns.length > 1))),
  );
  parent.scrollTop = 0;
}

function buttons(state, numOthers) {
  const button = (key, label, pressed, title) => make("button", { type: "button", "aria-pressed": String(pressed), "aria-keyshortcuts": key, title: `${title} (${key})`, onclick: () => ACTIONS[key]() }, label);
  return make("div", { class: "buttons", role: "group", "aria-label": "Show" },
    button("p", "Only this problem", state.filter.problem !== null, "Filter by this problem"),
    button("r", "LaTeX", state.raw, "Show the text as the model wrote it"),
    button("t", "Thinking", state.thinking, "Open what was thought"),
    ...(numOthers > 1 ? [button("s", "Side by side", state.beside, "Show all folders that have this problem")] : []));
}

function problemBox(problem, state) {
  const text = make("div", { class: "text", dir: "auto" });
  appendLong(text, problem.text, { raw: state.raw, needle: state.filter.text });
  const golds = problem.golds.map((gold) => answerNode(gold, state.raw));
  return make("div", { class: "card problem" }, make("h3", {}, "Problem"), text,
    problem.prompt && problem.prompt !== problem.text ? promptBox(problem.prompt) : null,
    make("p", { class: "gold" }, make("b", {}, golds.length > 1 ? "Any of these golds " : "Gold "), ...(golds.length ? golds : ["none"])));
}

function promptBox(prompt) {
  const text = make("pre", { dir: "auto" });
  appendLong(text, prompt, { raw: true });
  return make("details", {}, make("summary", {}, "The whole prompt"), text);
}

function answerNode(answer, raw) {
  return make("span", { class: "answer", dir: "auto" }, raw ? answer.slice(0, 2000) : formulaNode(answer, answer.slice(0, 2000), false));
}

function column({ source, row }, found, state, isOneOfSeveral) {
  const verdict = source.verdict[row], name = DATA.verdicts[verdict], kind = verdictClass(verdict);
  const set = source.sets[source.set[row]];
  const heading = isOneOfSeveral ? make("h3", { class: "folder" }, source.name) : null;
  const facts = [set.name, `sample ${source.sample[row]}`];
  if (source.length[row] >= 0) facts.push(`${count(source.length[row])} ${source.unit}`);
  if (!Number.isNaN(source.reward[row])) facts.push(`reward ${round(source.reward[row])}`);
  for (const [label, value] of Object.entries(found.numbers)) facts.push(`${label} ${typeof value === "number" ? round(value) : value}`);
  const answer = found.answer === null ? null : make("p", { class: "given" }, make("b", {}, "Boxed "), answerNode(found.answer, state.raw));
  return make("article", { class: "response" }, heading,
    make("p", { class: "badges" }, make("span", { class: `badge ${kind}` }, WORDS[name]), source.cutOff[row] ? make("span", { class: "badge is-cut" }, "cut off") : null, make("span", { class: "facts" }, facts.join(" · "))),
    strip(source, row, state, isOneOfSeveral),
    make("p", { class: "reason" }, REASONS[name]), answer,
    ...responseParts(found.text, kind, state));
}

// The group as a row of squares, one a sample: a look at it tells how hard the problem is.
function strip(source, row, state, isOneOfSeveral) {
  const group = groupAt(source, row);
  const rows = [];
  const first = Math.max(group.start, Math.min(row - 32, group.end - 64));
  for (let other = first; other < Math.min(group.end, first + 64); other++) rows.push(other);
  const told = Number.isNaN(group.rate) ? (Number.isNaN(group.reward) ? "" : `mean reward ${round(group.reward)}`) : `${group.correct} of ${group.graded} correct`;
  const squares = rows.map((other) => make("button", {
    type: "button", class: `square ${verdictClass(source.verdict[other])}`, "aria-pressed": String(other === row), "aria-label": `sample ${source.sample[other]}, ${WORDS[DATA.verdicts[source.verdict[other]]]}`, title: `sample ${source.sample[other]}`,
    disabled: isOneOfSeveral && source !== state.source, onclick: () => openRow(other),
  }));
  return make("div", { class: "strip", role: "group", "aria-label": "Responses to this problem" }, ...squares, make("span", { class: "told" }, told));
}

function responseParts(text, kind, state) {
  const options = { raw: state.raw, needle: state.filter.text };
  const end = text.lastIndexOf("</think>");
  const thinks = end >= 0 || text.trimStart().startsWith("<think>");
  const cut = end < 0 ? text.length : end + "</think>".length;
  const thought = thinks ? text.slice(0, cut) : "";
  const rest = thinks ? text.slice(cut) : text;
  const parts = [];
  if (thought) {
    const body = make("div", { class: "text", dir: "auto" });
    const box = make("details", { class: "thinking" }, make("summary", {}, `Thinking, ${count(thought.length)} characters${end < 0 ? ", not ended" : ""}`), body);
    const fill = () => { if (!body.hasChildNodes()) appendLong(body, thought, options); };
    box.addEventListener("toggle", () => { if (box.open) fill(); });
    const hit = state.filter.text && thought.toLowerCase().includes(state.filter.text.toLowerCase());
    if (state.thinking || hit || !rest.trim()) { fill(); box.open = true; }
    parts.push(box);
  }
  const body = make("div", { class: "text", dir: "auto" });
  appendLong(body, rest.replace(/^\n+/, ""), { ...options, boxed: kind });
  parts.push(body);
  return parts;
}
