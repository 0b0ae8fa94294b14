r"""Compares equations, memberships and inequalities: which side only names the other, and what it claims.

x = 2+3 = 5        named x, worth 5, if 2+3 is 5
m+n = 371          names 371 for a gold that is a number; as a gold it is an equation
f(n) = 2n          the same function as f(x) = 2x
"""

from collections.abc import Callable

from deepscaler.rewards.answers.chains import Leaf, both, exact_sides, is_name, is_open, worth
from deepscaler.rewards.answers.intervals import is_inequality, solution_set, variable
from deepscaler.rewards.answers.literals import Verdict, canonical
from deepscaler.rewards.answers.nodes import COLLECTIONS, Node, symbols

_EQUAL = frozenset({"=", "\\equiv", "\\approx"})
_SUBSCRIPT_BASE = "_"


Compare = Callable[[Node, Node, Leaf], Verdict]


def compare_relations(answer: Node, gold: Node, leaf: Leaf, compare: Compare) -> Verdict:
    """Compares two trees, at least one of which is a relation."""
    if answer.kind == "relation" and gold.kind == "relation":
        return _compare_both(answer, gold, leaf, compare)
    if gold.kind == "relation":
        return _compare_with_gold_relation(answer, gold, leaf, compare)
    return _compare_with_answer_relation(answer, gold, leaf, compare)


def _compare_with_answer_relation(answer: Node, gold: Node, leaf: Leaf, compare: Compare) -> Verdict:
    if answer.value == ("\\in",) and is_name(answer.args[0]):
        return compare(answer.args[1], gold, leaf)
    if len(answer.value) == 1 and answer.value[0].startswith("\\equiv:"):
        return compare(answer.args[1], gold, leaf) if is_open(answer.args[0]) else False
    if not set(answer.value) <= _EQUAL:
        if gold.kind in ("union", "minus", "builder", "list"):
            return _same_solutions(answer, gold, leaf, compare) if gold.kind in ("list", "builder") else False
        return False
    # (a,b)=(3,5) for a gold that names both, such as a=3, b=5.
    if gold.kind == "list" and (parts := expanded(answer)) and any(part.kind == "relation" for part in gold.args):
        return compare(parts, gold, leaf)
    # For a gold that is a number any expression may name it (m+n=371); for a formula only a name may.
    value, verdict = worth(answer, leaf, any_name=not symbols(gold))
    if value is None or verdict is False:
        return False
    return both(verdict, compare(value, gold, leaf))


def _compare_with_gold_relation(answer: Node, gold: Node, leaf: Leaf, compare: Compare) -> Verdict:
    if gold.value == ("\\in",):
        return compare(answer, gold.args[1], leaf)
    if is_inequality(gold):
        return _same_solutions(answer, gold, leaf, compare)
    if len(gold.value) == 1 and gold.value[0].startswith("\\equiv:"):
        return compare(answer, gold.args[1], leaf) if is_name(gold.args[0]) else False
    if not set(gold.value) <= _EQUAL or not is_name(gold.args[0]):
        return False
    if answer.kind == "list" and (parts := expanded(gold)) and any(part.kind == "relation" for part in answer.args):
        return compare(answer, parts, leaf)
    value = exact_sides(gold)[-1]
    # AB = 2x is an equation between lengths, and its right side alone is not an answer to it.
    if gold.args[0].kind == "mul" and symbols(value):
        return False
    return compare(answer, value, leaf)


def _compare_both(answer: Node, gold: Node, leaf: Leaf, compare: Compare) -> Verdict:
    if set(answer.value) <= _EQUAL and set(gold.value) <= _EQUAL:
        if is_name(answer.args[0]) and is_name(gold.args[0]):
            value, verdict = worth(answer, leaf, any_name=False)
            if len(gold.args) > 2:  # a gold that shows its work: only its result counts
                verdict = verdict is not False
            if value is not None and verdict is not False:
                renamed = in_terms_of(answer.args[0], gold.args[0], value)
                if renamed is not None:
                    return both(verdict, compare(renamed, exact_sides(gold)[-1], leaf))
        if any(side.kind in COLLECTIONS or side.kind in ("words", "quantity") for side in (*answer.args, *gold.args)):
            return False
        return leaf(answer, gold) if len(answer.args) == len(gold.args) == 2 else False
    if answer.value == gold.value == ("\\in",):
        same_name = canonical(answer.args[0]) == canonical(gold.args[0])
        return compare(answer.args[1], gold.args[1], leaf) if same_name else False
    if is_inequality(answer) and gold.value == ("\\in",):
        return False  # the gold asks for an interval
    verdict = _same_solutions(answer, gold, leaf, compare)
    if verdict is not False:
        return verdict
    if answer.value != gold.value:
        return False
    sides = [compare(a, g, leaf) for a, g in zip(answer.args, gold.args, strict=True)]
    if False not in sides:
        return None if None in sides else True
    return leaf(answer, gold) if len(answer.args) == 2 and not symbols(answer) ^ symbols(gold) else False


def _same_solutions(answer: Node, gold: Node, leaf: Leaf, compare: Compare) -> Verdict:
    names = [variable(node) for node in (answer, gold) if is_inequality(node) or node.kind == "relation"]
    if len(names) == 2 and None not in names and canonical(names[0]) != canonical(names[1]):  # type: ignore[arg-type]
        return False
    left, right = solution_set(answer), solution_set(gold)
    if (
        left is None
        or right is None
        or len(left) != len(right)
        or [a.closed for a in left] != [g.closed for g in right]
    ):
        return False
    ends = [
        compare(a, g, leaf)
        for one, other in zip(left, right, strict=True)
        for a, g in ((one.low, other.low), (one.high, other.high))
    ]
    return False if False in ends else None if None in ends else True


def named_value(node: Node) -> tuple[str | None, Node]:
    """Returns the name without subscripts and the value of `x_1=5`; (None, the tree) if nothing is named."""
    if node.kind == "relation" and set(node.value) <= _EQUAL and is_name(node.args[0]):
        name = node.args[0]
        return str(name.value).partition(_SUBSCRIPT_BASE)[0] if name.kind == "symbol" else repr(
            canonical(name)
        ), node.args[-1]
    return None, node


def names_fix_order(answer: Node, gold: Node) -> bool:
    """Returns whether only one side names its items: `x=5, y=3` against `5, 3`. `x=5, x=3` only names the unknown."""
    found = [[name for name, _ in map(named_value, node.args) if name] for node in (answer, gold)]
    return bool(found[0]) != bool(found[1]) and len(set(found[0] or found[1])) > 1


def without_numbering(node: Node, other: Node) -> Node:
    """Returns `x_1=2, x_2=3` as `x=2, x=3` if the other list names only x, so the numbers just count its values."""
    names = [part.args[0].value if part.kind == "relation" else None for part in node.args]
    bases = {named_value(part)[0] for part in node.args}
    plain = {part.args[0] for part in other.args if part.kind == "relation" and part.value == ("=",)}
    if len(bases) != 1 or None in names or len(set(names)) != len(names) or plain != {Node("symbol", (), *bases)}:
        return node
    parts = [Node("relation", (*plain, *part.args[1:]), part.value) for part in node.args]
    return Node(node.kind, tuple(parts), node.value)


def expanded(node: Node) -> Node | None:
    """Returns `(a,b)=(3,5)` as the list `a=3, b=5`; None for other relations."""
    if node.kind != "relation" or node.value != ("=",) or node.args[0].kind != "tuple" or node.args[1].kind != "tuple":
        return None
    names, values = node.args[0].args, node.args[1].args
    if len(names) != len(values):
        return None
    return Node("list", tuple(Node("relation", pair, ("=",)) for pair in zip(names, values, strict=True)), ",")


def flat_assignments(node: Node) -> list[Node] | None:
    """Returns the values of all assignments and tuples of a list in order; None if an item is neither."""
    flat: list[Node] = []
    for item in node.args:
        value = named_value(item)[1]
        if value.kind == "tuple":
            flat.extend(value.args)
        elif value.kind in COLLECTIONS or (value.kind == "relation"):
            return None
        else:
            flat.append(value)
    return flat


def in_terms_of(name: Node, wanted: Node, value: Node) -> Node | None:
    """Returns the answer's value in the gold's variable; None if the two name different things.

    `y=2x` equals `f(x)=2x`, and `f(n)=2n` equals `f(x)=2x`, but `f(x)` differs from `g(x)`.
    """
    if canonical(name) == canonical(wanted):
        return value
    if name.kind == wanted.kind == "call" and name.value == wanted.value and len(name.args) == len(wanted.args) == 1:
        old, new = name.args[0], wanted.args[0]
        is_taken = new.value in symbols(value)  # f(y)=1/x is not f(x)=1/x
        return renamed(value, old, new) if old.kind == new.kind == "symbol" and not is_taken else None
    y = Node("symbol", (), "y")
    return value if (name.kind == "call" and wanted == y) or (wanted.kind == "call" and name == y) else None


def renamed(node: Node, old: Node, new: Node) -> Node:
    """Returns a tree with one part replaced by another."""
    return new if node == old else Node(node.kind, tuple(renamed(part, old, new) for part in node.args), node.value)
