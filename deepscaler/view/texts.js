// Texts of models become text nodes, and formulas become MathML elements made one by one: nothing is ever parsed as HTML.

const MATHML = "http://www.w3.org/1998/Math/MathML";
const SVG = "http://www.w3.org/2000/svg";
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const FORMULA = new RegExp(DATA.formula, "g");
const SHOWN = 40000; // characters of a long text that are laid out at once

// Makes an element; children are nodes or plain text. `on...` properties are listeners.
function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined).map((child) => (typeof child === "string" ? printable(child) : child)));
  return made;
}

// Shows control characters, and those that turn the direction of a line, as a sign instead of obeying them.
function printable(text) {
  return text.replace(UNPRINTABLE, "\ufffd");
}

function mathNode([name, attributes, ...children]) {
  const made = document.createElementNS(MATHML, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  for (const child of children) made.append(typeof child === "string" ? printable(child) : mathNode(child));
  return made;
}

// Returns a formula as mathematics, or as its LaTeX where nobody could read it.
function formulaNode(latex, source, display) {
  const tree = FORMULAS.get(display ? `\t${latex}` : latex);
  if (!tree) return make("code", { class: "latex" }, source);
  const node = mathNode(tree);
  node.setAttribute("display", display ? "block" : "inline");
  node.setAttribute("aria-label", printable(latex));
  return make("span", { class: display ? "formula display" : "formula", title: latex }, node);
}

function markedText(parent, text, needle) {
  if (!needle) return void parent.append(printable(text));
  const lower = text.toLowerCase(), wanted = needle.toLowerCase();
  if (lower.length !== text.length) return void parent.append(printable(text)); // a letter that changes its length
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parent.append(printable(text.slice(from, at)), make("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  parent.append(printable(text.slice(from)));
}

// Appends a text with its formulas. The last box of an answer is marked by `boxed`, a class.
function appendText(parent, text, { raw = false, needle = "", boxed = "" } = {}) {
  const matches = raw && !boxed ? [] : [...text.matchAll(FORMULA)];
  const last = boxed ? matches.findLastIndex((match) => match[0].includes("\\boxed")) : -1;
  let from = 0;
  matches.forEach((match, place) => {
    if (raw && place !== last) return;
    const latex = match.slice(1).find((part) => part !== undefined);
    const display = match[1] !== undefined || match[2] !== undefined;
    const before = text.slice(from, match.index);
    markedText(parent, display && !raw ? before.replace(/\n+$/, "") : before, needle);
    const node = raw ? make("span", {}, match[0]) : formulaNode(latex, match[0], display);
    if (place === last) node.classList.add("boxed", boxed);
    parent.append(node);
    from = match.index + match[0].length;
    if (display && !raw) while (text[from] === "\n") from++; // it is a block of its own
  });
  markedText(parent, text.slice(from), needle);
}

// Appends a text of any length: of a long one the beginning and the end, and the middle on request.
function appendLong(parent, text, options = {}) {
  if (text.length <= 2 * SHOWN) return void appendText(parent, text, options);
  const middle = make("span");
  let from = SHOWN;
  const end = text.length - SHOWN;
  const button = make("button", { type: "button", class: "more", onclick: more });
  function label() { button.textContent = `Show ${count(Math.min(SHOWN, end - from))} of ${count(end - from)} characters more`; }
  function more() {
    appendText(middle, text.slice(from, Math.min(end, from + SHOWN)), { ...options, boxed: "" });
    from = Math.min(end, from + SHOWN);
    if (from < end) label(); else button.remove();
  }
  appendText(parent, text.slice(0, SHOWN), { ...options, boxed: "" });
  label();
  parent.append(middle, button);
  appendText(parent, text.slice(end), options);
}

function count(number) {
  return number.toLocaleString("en-US");
}

function percent(share) {
  return Number.isNaN(share) ? "-" : `${(100 * share).toFixed(share === 0 || share === 1 ? 0 : 1)} %`;
}
