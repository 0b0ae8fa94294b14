r"""Reads answers with special grammars: matrices, rows of equations, digits in a base, times of day, ratios, choices.

52_{\text{eight}}    base    52 | 8
3:30 \text{ p.m.}    clock   15 | 30
\textbf{(E) } 24     choice  E | 24
"""

from collections.abc import Callable

from deepscaler.rewards.answers.nodes import Node, Number, negated
from deepscaler.rewards.answers.numbers import literal
from deepscaler.rewards.answers.reader import Span
from deepscaler.rewards.answers.tokens import UnreadableError
from deepscaler.rewards.answers.vocabulary import BASES, DENIALS, SEPARATORS

Read = Callable[[Span], Node]

_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "array", "smallmatrix")
_ROWS = (
    "cases",
    "aligned",
    "align",
    "gathered",
    "gather",
    "split",
    "alignedat",
    "eqnarray",
    "equation",
    "rcases",
    "dcases",
)
_CHOICES = frozenset("ABCDEFGHIJ")
_MAX_CELLS = 400


def column_rows(span: Span) -> Span | None:
    r"""Returns the content of `\begin{cases} x=3 \\ y=5 \end{cases}`, whose rows are a list; None for other spans."""
    name = span.tokens[span.start].text.removeprefix("\\begin:")
    end = span.closes.get(span.start)
    if name not in _ROWS or end != span.end - 1:
        return None
    inner = span.between(span.start + 1, end)
    kept = []
    for index in inner.top_level():
        token, following = span.tokens[index], span.at(index + 1)
        if token.text == "&":
            # A row such as `x & x>0` holds its value under a condition, which no list of values shows.
            if name in ("cases", "dcases", "rcases") and following and following.text != "=":
                raise UnreadableError("conditions")
            continue
        if token.text == "\\\\" and _continues(span, index + 1):
            continue
        kept.append(index)
    return _picked(span, kept)


def _continues(span: Span, index: int) -> bool:
    """Returns whether a row continues the previous one: `&= 33`."""
    while (token := span.at(index)) and token.text == "&":
        index += 1
    return bool(token) and token.text in ("=", "+", "-", "\\cdot")  # type: ignore[union-attr]


def _picked(span: Span, top: list[int]) -> Span:
    """Returns a new span of some top-level tokens, with everything in their brackets."""
    from deepscaler.rewards.answers.reader import span_of  # noqa: PLC0415

    tokens = [t for i in top for t in span.tokens[i : span.closes.get(i, i) + 1]]
    while tokens and tokens[-1].text in ("\\\\", ".", ","):
        tokens.pop()
    return span_of(tuple(tokens))


def matrix(span: Span, read: Read) -> Node | None:
    r"""Returns a matrix, with a factor before it multiplied into its cells; None unless there is exactly one."""
    starts = [i for i in span.top_level() if span.tokens[i].text.startswith("\\begin:")]
    if len(starts) != 1:
        return None
    start = starts[0]
    name = span.tokens[start].text.removeprefix("\\begin:")
    if name not in _MATRICES or span.closes[start] != span.end - 1:
        raise UnreadableError(name)
    inner = span.between(start + 1, span.end - 1)
    rows = [row.split(("&",)) for row in inner.split(("\\\\",)) if len(row)]
    if len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > _MAX_CELLS:
        raise UnreadableError("ragged")
    cells = [read(cell) for row in rows for cell in row]
    factor = span.between(span.start, start)
    if len(factor):
        cells = [_times(factor, cell, read) for cell in cells]
    # Bars make it a determinant, which is a number and not its matrix.
    delimiter = "|" if name in ("vmatrix", "Vmatrix") else ""
    return Node("matrix", tuple(cells), f"{delimiter}{len(rows)}")


def _times(factor: Span, cell: Node, read: Read) -> Node:
    texts = factor.texts()
    if texts[-1] in ("\\cdot", "\\times"):
        factor = factor.between(factor.start, factor.end - 1)
    if texts in (["-"], ["+"]):
        return negated(cell) if texts == ["-"] else cell
    scalar = read(factor)
    if scalar.kind in ("matrix", "list", "tuple", "set", "quantity", "words"):
        raise UnreadableError("no factor")
    known, inner = literal(scalar), literal(cell)
    if known and inner:
        return Node("number", (), Number(known.value * inner.value, (known.step or inner.step)))
    return Node("mul", (scalar, cell))


def base_number(span: Span) -> Node | None:
    r"""Returns `52_8`, `(52)_8`, `2A_{16}`, `52_{\text{eight}}`, `52 \text{ (base 8)}`; None for anything else."""
    texts = [text for text in span.texts() if text not in ("{", "}")]
    if len(texts) > 3 and texts[-1] == ")" and texts[-3].lower() == "base" and texts[-4] == "(":
        digits, base = texts[:-4], texts[-2]
    elif len(texts) > 2 and texts[-2].lower() == "base" and span.tokens[span.end - 2].kind == "word":
        digits, base = texts[:-2], texts[-1]
    elif "_" in texts[-10:-1] and _ends_in_subscript(span):
        cut = len(texts) - 1 - texts[::-1].index("_")
        digits, base = texts[:cut], "".join(texts[cut + 1 :]).lower().removeprefix("base")
    else:
        return None
    base = base.removeprefix("(").removesuffix(")")
    if digits[:1] == ["("] and digits[-1:] == [")"]:
        digits = digits[1:-1]
    number = int(base) if base.isdigit() and len(base) <= 2 else BASES.get(base.lower(), 0)
    sign = digits[0] if digits[:1] == ["-"] else ""
    joined = "".join(digits[len(sign) :]).upper()
    if not 2 <= number <= 36 or not joined or not joined.isalnum() or not joined.isascii():
        return None
    if not joined[0].isdigit() and (number <= 10 or not "".join(digits).isupper() or len(joined) < 2):
        return None
    # 59_8 has a digit that base 8 lacks, so there is nothing to compare it by.
    if any(int(c, 36) >= number for c in joined):
        raise UnreadableError("no digits of that base")
    return Node("base", (), (sign + joined, number))


def _ends_in_subscript(span: Span) -> bool:
    sign = max((index for index in span.top_level() if span.tokens[index].text == "_"), default=span.end)
    return span.closes.get(sign + 1, sign + 1) == span.end - 1


def clock(span: Span) -> Node | None:
    r"""Returns `20:34:00` or `3:30 \text{ p.m.}`; None for other spans and for ratios (`2:30` may be both)."""
    tokens = span.tokens[span.start : span.end]
    if not tokens or tokens[0].kind != "number" or len(tokens) > 12:
        return None
    letters = "".join(t.text for t in tokens if t.kind in ("letter", "word")).lower()
    rest = [t for t in tokens if t.kind not in ("letter", "word") and t.text != "."]
    texts = [t.text for t in rest]
    if letters not in ("", "am", "pm") or texts[1::2] != [":"] * (len(texts) // 2) or len(texts) not in (1, 3, 5):
        return None
    parts = texts[::2]
    if not all(part.isdigit() and len(part) <= 2 for part in parts) or (len(parts) == 1 and not letters):
        return None
    # 2:4 is a ratio: minutes have two digits.
    if not letters and (any(len(part) != 2 for part in parts[1:])):
        return None
    numbers = [int(part) for part in parts]
    if numbers[0] > (12 if letters else 24) or any(n > 59 for n in numbers[1:]):
        return None
    numbers += [0] * (3 - len(numbers))
    return Node("clock", (), (*numbers, letters, tuple(int(part) for part in parts), any(p[0] == "0" for p in parts)))


def ratio(span: Span, read: Read) -> Node | None:
    """Returns `2:3` as a ratio; None if no colon separates values."""
    parts = span.split((":",))
    if len(parts) == 1 or not all(map(len, parts)) or len(parts) > 9:
        return None
    return Node("ratio", tuple(read(part) for part in parts))


def choice(span: Span) -> tuple[str, Span | None] | None:
    r"""Returns the letter of `\textbf{(E) } 24`, `E) 24`, `E. 24`, `Option E`, and the text behind it."""
    texts = span.texts()
    start = 1 if texts and texts[0].lower() in ("option", "choice") else 0
    if texts[start : start + 1] == [":"]:
        start += 1
    if start and len(texts) > start and texts[start] != "(" and texts[start] in _CHOICES and len(texts) == start + 1:
        return texts[start], None
    if len(texts) - start >= 3 and texts[start] == "(" and texts[start + 2] == ")" and texts[start + 1] in _CHOICES:
        letter, after = texts[start + 1], start + 3
    elif len(texts) - start >= 2 and texts[start] in _CHOICES and texts[start + 1] in (")", ".", ":"):
        letter, after = texts[start], start + 2
    else:
        return None
    if texts[after : after + 1] in ([":"], ["."], ["="]):
        after += 1
    rest = span.between(span.start + after, span.end)
    tokens = span.tokens[rest.start : rest.end]
    # `A or B` chooses nothing, and `A, not B` says more than a letter.
    if any(t.text.lower() in SEPARATORS or t.text.lower() in DENIALS for t in tokens):
        return None
    if len(tokens) > 2 and any(
        tokens[i].text == "(" and tokens[i + 1].text in _CHOICES and tokens[i + 2].text == ")"
        for i in range(len(tokens) - 2)
    ):
        return None
    if tokens and tokens[0].text in ("=", ",", "/", "+", "-", "\\cdot", "^", "_", "!") and texts[start] == "(":
        return None if tokens[0].text != "-" else (letter, rest)
    return letter, rest if len(rest) else None
