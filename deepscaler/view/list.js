// The list of responses: only the rows in sight are in the page, so a million of them cost no more than a screen.

const ROW_HEIGHT = 54;
const MAX_ROWS = 500000; // more are higher than a browser can lay out
const WORDS = { correct: "correct", wrong: "wrong", no_box: "no box", no_think_end: "no </think>", timeout: "undecided (time)", worker_died: "undecided (died)", undecided: "undecided", ungraded: "no grade" };

class List {
  constructor(box, choose) {
    this.box = box;
    this.inner = box.firstElementChild;
    this.choose = choose;
    this.found = [];
    this.place = -1;
    box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // Shows other rows; keeps the chosen row where it is among them.
  show(source, found, chosen) {
    this.source = source;
    this.found = found;
    this.place = found.indexOf(chosen);
    this.inner.style.height = `${Math.min(found.length, MAX_ROWS) * ROW_HEIGHT}px`;
    if (this.place < 0) this.box.scrollTop = 0;
    this.draw();
  }

  row() {
    return this.place < 0 ? -1 : this.found[this.place];
  }

  go(place) {
    if (!this.found.length) return;
    this.place = Math.max(0, Math.min(this.found.length - 1, place));
    const top = this.place * ROW_HEIGHT;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top + ROW_HEIGHT > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW_HEIGHT - this.box.clientHeight;
    this.draw();
    this.choose(this.row());
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - 4);
    const last = Math.min(this.found.length, MAX_ROWS, first + Math.ceil(this.box.clientHeight / ROW_HEIGHT) + 8);
    const items = [];
    for (let place = first; place < last; place++) items.push(this.item(place));
    this.inner.replaceChildren(...items);
    if (this.place >= first && this.place < last) this.box.setAttribute("aria-activedescendant", `row-${this.place}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  item(place) {
    const source = this.source, row = this.found[place], group = groupAt(source, row);
    const problem = source.problems[group.problem];
    const made = make("div", {
      id: `row-${place}`, role: "option", class: "item", "aria-selected": String(place === this.place), "aria-posinset": place + 1, "aria-setsize": this.found.length,
      onclick: () => this.go(place),
    },
      make("span", { class: `dot ${verdictClass(source.verdict[row])}` }),
      make("span", { class: "name", dir: "ltr" }, make("bdi", {}, problem.id)),
      make("span", { class: "sample" }, `#${source.sample[row]}`),
      make("span", { class: "about" }, rowSummary(source, row)),
      rateBar(group));
    made.style.top = `${place * ROW_HEIGHT}px`;
    return made;
  }
}

function rowSummary(source, row) {
  const parts = [WORDS[DATA.verdicts[source.verdict[row]]]];
  if (source.kind === "training") parts.unshift(source.sets[source.set[row]].name);
  if (!Number.isNaN(source.reward[row])) parts.push(`reward ${round(source.reward[row])}`);
  if (source.length[row] >= 0) parts.push(`${count(source.length[row])} ${source.unit === "tokens" ? "tok" : "chars"}`);
  if (source.cutOff[row]) parts.push("cut off");
  return parts.join(" · ");
}

function round(number) {
  return String(Number(number.toPrecision(4)));
}

function rateBar(group) {
  const share = Number.isNaN(group.rate) ? group.reward : group.rate;
  const made = make("span", { class: "rate", title: `${group.correct} of ${group.graded} correct in this group` }, make("i"));
  if (Number.isNaN(share)) made.hidden = true;
  else made.firstElementChild.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return made;
}

function verdictClass(verdict) {
  if (verdict === CORRECT) return "is-correct";
  if (verdict === UNGRADED) return "is-ungraded";
  return UNDECIDED.includes(verdict) ? "is-undecided" : "is-wrong";
}
