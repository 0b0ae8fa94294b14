r"""Reads units after a value: `10 weeks`, `64\text{ cm}^2`, `\frac{\text{km}}{\text{h}}`, `5 hours 30 minutes`.

unit     := factor (("/" | "per" | "\cdot" | nothing) factor)*
factor   := ("square" | "cubic")? name ("^" integer | "squared" | "cubed")? | "\frac" unit unit | "(" unit ")"
name     := a unit, a counted noun with words that do not change the number (`12 distinct integers`)

A unit that only one side states is ignored; two different units are two different answers.
"""

from fractions import Fraction

from deepscaler.rewards.answers.nodes import Node, Number
from deepscaler.rewards.answers.reader import Span
from deepscaler.rewards.answers.vocabulary import FILLERS, SIZES, UPRIGHT_UNITS, counted_noun, unit_of

Unit = tuple[tuple[str, int], ...]
"""Canonical names with their powers, sorted: km/h is (("hour", -1), ("km", 1))."""

_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_CHINESE_POWERS = {"平方": 2, "立方": 3}
_AFTER = {"squared": 2, "cubed": 3}
_MICRO = {"m": "um", "s": "us", "g": "microgram"}
_COMMANDS = {
    "\\mum": "um",
    "\\mus": "us",
    "\\mug": "microgram",
    "\\Omega": "ohm",
    "\\ohm": "ohm",
    "\\AA": "angstrom",
    "\\degree": "degree",
    "\\min": "minute",
}


def read_unit(span: Span, index: int, upright: bool = True) -> tuple[Unit, int] | None:
    """Returns the unit that begins at an index, and its end. Without `upright`, single letters count (`m/s`)."""
    powers: dict[str, int] = {}
    sign = 1
    first = True
    while True:
        factor = _read_factor(span, index, upright and (first or sign == 1))
        if factor is None:
            return None if first else (_unit(powers), index) if sign == 1 else None
        names, index = factor
        for name, power in names:
            powers[name] = powers.get(name, 0) + sign * power
        first, sign = False, 1
        token = span.at(index)
        if token and (token.text in ("/", "per") or token.text.lower() == "per"):
            sign, index = -1, index + 1
        elif token and token.text in ("\\cdot", "\\times", "-", "."):
            following = _read_factor(span, index + 1, upright)
            # `5 m - 3` continues with a number, so the sign is not part of the unit.
            if following is None:
                return _unit(powers), index
            index += 1


def _unit(powers: dict[str, int]) -> Unit:
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def _read_factor(span: Span, index: int, upright: bool) -> tuple[Unit, int] | None:
    token = span.at(index)
    if token is None:
        return None
    if token.text == "\\frac":
        return _read_fraction(span, index, upright)
    if token.text == "(" and (end := span.closes.get(index)):
        inner = read_unit(span.between(index + 1, end), index + 1, upright)
        return (inner[0], end + 1) if inner and inner[1] == end else None
    power = 1
    if token.kind == "word" and token.text.lower() in _POWERS and span.at(index + 1):
        power, index = _POWERS[token.text.lower()], index + 1
        if (dot := span.at(index)) and dot.text == ".":
            index += 1
    if token.text[:2] in _CHINESE_POWERS and (name := unit_of(token.text[2:])):
        return ((name, _CHINESE_POWERS[token.text[:2]]),), index + 1
    named = _read_name(span, index, upright)
    if named is None:
        return None
    name, index = named
    token = span.at(index)
    if token and token.text == "^":
        exponent = _read_exponent(span, index + 1)
        if exponent is None:
            return None
        power, index = power * exponent[0], exponent[1]
    elif token and token.text.lower() in _AFTER:
        power, index = _AFTER[token.text.lower()], index + 1
    return ((name, power),), index


def _read_name(span: Span, index: int, upright: bool) -> tuple[str, int] | None:
    """Returns a unit's canonical name and its end; a counted noun may have words before it and `of ...` after it."""
    start = index
    while (token := span.at(index)) and token.kind == "word" and token.text.lower() in FILLERS:
        following = span.at(index + 1)
        if unit_of(token.text) and not (following and following.kind == "word"):
            break
        index += 1
    token = span.at(index)
    if token is None:
        return None
    if token.text in ("k", "M") and token.roman and (after := span.at(index + 1)) and after.text == "\\Omega":
        return f"{token.text}ohm", index + 2
    if token.kind == "word":
        name = unit_of(token.text) or (counted_noun(token.text) if token.roman or token.spaced else None)
    elif token.kind == "letter" and (token.roman or not upright):
        name = UPRIGHT_UNITS.get(token.text)
        if name and (after := span.at(index + 1)) and after.kind == "letter" and not after.spaced:
            return _read_run(span, index)
    elif token.text == "\\mu" and (after := span.at(index + 1)) and after.text in _MICRO:
        return _MICRO[after.text], index + 2

    else:
        name = _COMMANDS.get(token.text)
        return (name, index + 1) if name else _read_run(span, index) if not upright else None
    if name is None:
        return _read_run(span, index) if token.kind == "letter" and not upright else None
    index += 1
    if (dot := span.at(index)) and dot.text == "." and span.at(index + 1):
        index += 1
    if start < index - 1 or (token.kind == "word" and len(token.text) > 2):
        index = _skip_of(span, index)
    return name, index


def _read_run(span: Span, index: int) -> tuple[str, int] | None:
    """Letters that the scanner took for a product: `3km` asks whether k and m spell a unit."""
    end = index
    while (token := span.at(end)) and token.kind == "letter" and (end == index or not token.spaced):
        end += 1
    name = unit_of("".join(token.text for token in span.tokens[index:end])) if end > index + 1 else None
    return (name, end) if name else None


def _skip_of(span: Span, index: int) -> int:
    """Returns the index after `of` and a noun: `pieces of candy`, `sheets of paper`, but not `ways of choosing`."""
    token = span.at(index)
    if token and token.text.lower() == "of" and (noun := span.at(index + 1)) and noun.kind == "word":
        name = unit_of(noun.text) or counted_noun(noun.text)
        return index + 2 if name else index
    return index


def _read_fraction(span: Span, index: int, upright: bool) -> tuple[Unit, int] | None:
    parts = []
    index += 1
    for _ in range(2):
        token = span.at(index)
        if token is None or (token.text != "{" and token.kind not in ("word", "letter")):
            return None
        end = span.closes[index] if token.text == "{" else index
        inner = span.between(index + 1, end) if end > index else span.between(index, index + 1)
        found = read_unit(inner, inner.start, upright) if inner.end > inner.start else None
        if found is None or found[1] != inner.end:
            return None
        parts.append(found[0])
        index = end + 1
    return (*parts[0], *((name, -power) for name, power in parts[1])), index


def _read_exponent(span: Span, index: int) -> tuple[int, int] | None:
    token = span.at(index)
    if token is None:
        return None
    end = span.closes[index] if token.text == "{" else index
    inner = [t.text for t in span.tokens[index + 1 : end]] if end > index else [token.text]
    text = "".join(inner)
    if end == index and text == "-" and (following := span.at(index + 1)):
        text, end = text + following.text, index + 1
    return (int(text), end + 1) if text.lstrip("-").isdigit() and text.count("-") <= 1 and len(text) <= 3 else None


def compound(parts: list[Node]) -> Node | None:
    """Returns 5 hours 30 minutes as one quantity; None unless the units have one dimension and get smaller."""
    if len(parts) < 2:
        return None
    total, previous, dimensions = Fraction(0), None, set()
    for part in parts:
        if part.kind != "quantity" or len(part.value) != 1 or part.args[0].kind != "number":
            return None
        (name, power), number = part.value[0], part.args[0].value
        if power != 1 or name not in SIZES or number.value < 0:
            return None
        dimension, size = SIZES[name][0], Fraction(SIZES[name][1])
        # `30 min 2 h` is not how anybody writes one quantity.
        if previous is not None and size >= previous:
            return None
        previous = size
        dimensions.add(dimension)
        total += number.value * size
    return Node("quantity", (Node("number", (), Number(total)),), ((f"compound {dimensions.pop()}", 1),)) \
        if len(dimensions) == 1 else None  # fmt: skip


def in_base_units(node: Node) -> tuple[str, Fraction] | None:
    """Returns the dimension and size of a quantity whose unit has a known size, to compare 5400 s with 1 h 30 min."""
    if node.kind != "quantity" or len(node.value) != 1 or node.args[0].kind != "number" or node.value[0][1] != 1:
        return None
    name, number = node.value[0][0], node.args[0].value.value
    if name.startswith("compound "):
        return name.removeprefix("compound "), number
    if name not in SIZES:
        return None
    return SIZES[name][0], number * Fraction(SIZES[name][1])


def with_spelled_unit(node: Node) -> Node:
    r"""Returns `3km`, `9.8 m/s^2` or `9.8 \frac{m}{s^2}` as a quantity, if the gold has no variables."""
    top, bottom = node.args if node.kind == "div" else (node, None)
    if top.kind != "mul" or top.args[0].kind not in ("number", "neg"):
        return node
    upper, lower = _spelled(top.args[1:]), _spelled((bottom,)) if bottom else ()
    is_compound = bottom is not None or any(part.kind == "div" for part in top.args[1:])
    if upper is None or lower is None or (not is_compound and any(len(name) == 1 for name, _ in upper)):
        return node
    names = dict(upper)
    for name, power in lower:
        names[name] = names.get(name, 0) - power
    canonical = {
        (UPRIGHT_UNITS.get(name) or _COMMANDS.get(name) or unit_of(name) or name): power
        for name, power in names.items()
    }
    return Node("quantity", (top.args[0],), _unit(canonical))


def _spelled(parts: tuple[Node, ...]) -> Unit | None:
    """Returns the spellings of units in some factors, including single letters; None if a factor is not a unit."""
    letters = "".join(part.value for part in parts if part.kind == "symbol")
    if all(part.kind == "symbol" for part in parts) and (
        letters in UPRIGHT_UNITS or letters in _COMMANDS or (len(letters) > 1 and unit_of(letters))
    ):
        return ((letters, 1),)
    found: list[tuple[str, int]] = []
    if len(parts) > 1 and parts[-1].kind == "power" and all(part.kind == "symbol" for part in parts[:-1]):  # c m^2
        letter, exponent = parts[-1].args
        name = _spelled((*parts[:-1], letter))
        return (
            ((name[0][0], int(exponent.value.value)),)
            if name and exponent.kind == "number" and len(name) == 1
            else None
        )
    for part in parts:
        inner: Unit | None = None
        if part.kind == "power" and part.args[1].kind == "number" and part.args[1].value.value.denominator == 1:
            base = _spelled((part.args[0],))
            inner = tuple((name, power * int(part.args[1].value.value)) for name, power in base) if base else None
        elif part.kind == "div":
            upper, lower = (_spelled(side.args if side.kind == "mul" else (side,)) for side in part.args)
            inner = (*upper, *((name, -power) for name, power in lower)) if upper and lower else None
        elif part.kind == "symbol":
            inner = ((part.value, 1),) if part.value in UPRIGHT_UNITS else None
        if inner is None:
            return None
        found.extend(inner)
    return tuple(found)
