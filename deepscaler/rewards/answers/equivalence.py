r"""Decides whether two answers are equal: by shape first, then part by part, each part with a `Leaf` comparison.

A leaf compares one pair of scalars and returns True, False, or None for "only algebra can decide". The same walk runs
up to twice with different leaves: in the caller's process with a leaf that never computes, and if that returns None, in
a worker process with a leaf that does.
"""

from collections.abc import Iterable

from deepscaler.rewards.answers.chains import Leaf
from deepscaler.rewards.answers.equations import (
    compare_relations,
    flat_assignments,
    named_value,
    names_fix_order,
    renamed,
    without_numbering,
)
from deepscaler.rewards.answers.forms import choice
from deepscaler.rewards.answers.intervals import is_inequality, solution_set
from deepscaler.rewards.answers.literals import Verdict, canonical, same_tree
from deepscaler.rewards.answers.nodes import COLLECTIONS, EMPTY_SET, Node, quantity
from deepscaler.rewards.answers.numbers import literal
from deepscaler.rewards.answers.reader import Span, span_of
from deepscaler.rewards.answers.scanner import tokenize
from deepscaler.rewards.answers.structure import read, read_span
from deepscaler.rewards.answers.tokens import UnreadableError
from deepscaler.rewards.answers.units import in_base_units, with_spelled_unit
from deepscaler.rewards.answers.values import MAX_ITEMS

MAX_UNPAIRED = 24
"""Most items of a list without an equal tree in the other list; these are compared pairwise, in quadratic time."""

Choice = tuple[str, Span | None] | None


def compare(answer: str, gold: str, leaf: Leaf) -> Verdict:
    """Compares an answer with a gold, both as written. The order matters, because the gold sets the required form."""
    try:
        return _compare_texts(answer, gold, leaf)
    except UnreadableError:  # too long, too deep, unbalanced
        return answer.strip() == gold.strip() != ""


def _compare_texts(answer: str, gold: str, leaf: Leaf) -> Verdict:
    answer_tokens, gold_tokens = tokenize(answer), tokenize(gold)
    if not answer_tokens or not gold_tokens:
        return False
    # by kind and text: spacing and upright type do not change an answer
    if [t[:2] for t in answer_tokens] == [t[:2] for t in gold_tokens] or _is_decimal_comma(answer, gold):
        return True
    answer_span, gold_span = span_of(answer_tokens), span_of(gold_tokens)
    answer_choice, gold_choice = choice(answer_span), choice(gold_span)
    if answer_choice or gold_choice:
        verdict = _compare_choices(answer_choice, gold_choice, answer, gold, leaf)
        # A refusal is final for a letter alone; with a value behind it, the answer is also read as a whole.
        if verdict is not False or (answer_choice and answer_choice[1] is None):
            return verdict
    (answer_node, answer_note), (gold_node, gold_note) = read(answer), read(gold)
    if answer_note and gold_note and answer_note.domain and gold_note.domain and answer_note.domain != gold_note.domain:
        return False
    # k\pi and n\pi are one set where both say that their letter is an integer.
    if answer_note and gold_note and answer_note.variable and gold_note.variable:
        answer_node = renamed(
            answer_node, Node("symbol", (), answer_note.variable), Node("symbol", (), gold_note.variable)
        )
    return compare_nodes(answer_node, gold_node, leaf)


def _compare_choices(answer: Choice, gold: Choice, answer_text: str, gold_text: str, leaf: Leaf) -> Verdict:
    """Compares answers such as `(E) 24`, which give both a letter and a value; the other side may have either."""
    answer_letter, answer_rest = answer or (None, None)
    gold_letter, gold_rest = gold or (None, None)
    if answer and gold:
        return _agree(answer_rest, gold_rest, leaf) if answer_letter == gold_letter else False
    if gold:
        node = read(answer_text)[0]
        if node.kind in ("symbol", "words"):
            return bool(node.value == gold_letter)
        return compare_nodes(node, read_span(gold_rest), leaf) if gold_rest else False
    node = read(gold_text)[0]
    if node.kind in ("symbol", "words") and len(node.value.strip("()")) == 1:
        return bool(node.value.strip("()") == answer_letter)
    return compare_nodes(read_span(answer_rest), node, leaf) if answer_rest else False


def _agree(answer: Span | None, gold: Span | None, leaf: Leaf) -> Verdict:
    """Returns whether the values behind one letter agree; words behind it may describe the choice in any way."""
    if answer is None or gold is None:
        return True
    nodes = read_span(answer), read_span(gold)
    return True if "words" in (nodes[0].kind, nodes[1].kind) else compare_nodes(*nodes, leaf)


def _is_decimal_comma(answer: str, gold: str) -> bool:
    """Returns whether a comma is a decimal point: `1000,99` is 1000.99, but `1,234` is not 1.234.

    The other side must have the point, which a list of two never has.
    """
    for comma, point in ((answer.strip(), gold.strip()), (gold.strip(), answer.strip())):
        whole, sign, decimals = comma.partition(",")
        digits = whole.removeprefix("-").isdigit() and decimals.isdigit()
        # Three decimals could be thousands: 1,234 is 1234, never 1.234.
        if sign and digits and (len(decimals) != 3 or whole == "0") and f"{whole}.{decimals}" == point:
            return True
    return False


def compare_nodes(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    """Compares two trees."""
    # P(3,5) names the point; a gold with a name asks for no more than its place.
    if answer.kind == "point" and gold.kind in ("tuple", "point"):
        answer, gold = answer.args[0], gold.args[0] if gold.kind == "point" else gold
    if same_tree(answer, gold):
        return True
    if gold.kind == "relation" or answer.kind == "relation":
        return compare_relations(answer, gold, leaf, compare_nodes)
    if answer.kind in COLLECTIONS and gold.kind in COLLECTIONS:
        return _compare_collections(answer, gold, leaf)
    if answer.kind in COLLECTIONS or gold.kind in COLLECTIONS:
        return _compare_collection_with_scalar(answer, gold, leaf)
    return _compare_scalars(answer, gold, leaf)


def _compare_collections(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    kinds = {answer.kind, gold.kind}
    if kinds & {"union", "intersection", "minus", "builder"}:
        return _compare_real_sets(answer, gold, leaf)
    if kinds == {"list"} and all(is_inequality(part) for part in (*answer.args, *gold.args)):
        verdict = _compare_real_sets(answer, gold, leaf)
        if verdict is not False:
            return verdict
    # Repeats in a list or set add nothing: 1,1,2 is 1,2. A tuple keeps its own.
    if len(answer.args) != len(gold.args):
        answer = _without_repeats(answer)
    if len(answer.args) != len(gold.args) or len(answer.args) > MAX_ITEMS:
        return _tuples_of_assignments(answer, gold, leaf)
    if kinds <= {"list", "set"}:
        answer, gold = without_numbering(answer, gold), without_numbering(gold, answer)
        # x=5, y=3 against 5, 3: the names say which is which, so 3, 5 would be another answer.
        return _in_order(answer, gold, leaf) if names_fix_order(answer, gold) else _in_any_order(answer, gold, leaf)
    if kinds == {"list", "tuple"}:
        plain = answer if answer.kind == "list" else gold
        named = all(part.kind == "relation" for part in plain.args)
        return _named_in_order(answer, gold, leaf) if named and "()" in (answer.value, gold.value) else False
    if kinds in ({"tuple"}, {"matrix"}):
        # The brackets are part of the value: [1,2) is not (1,2).
        return _in_order(answer, gold, leaf) if answer.value == gold.value else False
    return False


def _named_in_order(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    """Compares `y=5, x=3` with (3,5), also in the order of the names, because a tuple is written in that order."""
    plain, pair = (answer, gold) if answer.kind == "list" else (gold, answer)
    ordered = sorted(plain.args, key=lambda part: str(named_value(part)[0]))
    given = [named_value(part) for part in plain.args]
    if len({name for name, _ in given}) != len(given):
        return False
    verdict: Verdict = False
    for items in (plain.args, tuple(ordered)):
        listed = Node("tuple", tuple(named_value(part)[1] for part in items), pair.value)
        verdict = _in_order(*((listed, pair) if answer.kind == "list" else (pair, listed)), leaf)
        if verdict is not False:
            return verdict
        if all(len(str(name)) > 1 for name, _ in given):
            return False
    return verdict


def _compare_real_sets(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    left, right = solution_set(answer), solution_set(gold)
    if left is not None and right is not None:
        if len(left) != len(right) or any(a.closed != g.closed for a, g in zip(left, right, strict=True)):
            return False
        ends = [
            (a, g)
            for one, other in zip(left, right, strict=True)
            for a, g in ((one.low, other.low), (one.high, other.high))
        ]
        return _all([compare_nodes(a, g, leaf) for a, g in ends])
    if answer.kind == gold.kind and len(answer.args) == len(gold.args):
        return _in_any_order(answer, gold, leaf) if answer.kind == "union" else _in_order(answer, gold, leaf)
    return False


def _compare_collection_with_scalar(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    """Compares a collection with a scalar: `{5}` is 5, R without a point is a union, all other pairs differ."""
    for one, other in ((answer, gold), (gold, answer)):
        if (
            one.kind in ("set", "list")
            and len(_without_repeats(one).args) == 1
            and other.kind not in COLLECTIONS
            and one is not EMPTY_SET
        ):
            single = one.args[0]
            return compare_nodes(single, gold, leaf) if one is answer else compare_nodes(answer, single, leaf)
    if "symbol" in (answer.kind, gold.kind) and {answer.kind, gold.kind} & {"union", "minus", "intersection", "tuple"}:
        return _compare_real_sets(answer, gold, leaf)
    if "quantity" in (answer.kind, gold.kind):  # (3,5) cm has its unit behind; (3 cm, 5 cm) has units inside
        values = [node.args[0] if node.kind == "quantity" else node for node in (answer, gold)]
        return compare_nodes(values[0], values[1], leaf) if all(v.kind in COLLECTIONS for v in values) else False
    return False


def _compare_scalars(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    if gold.kind == "quantity" or literal(gold):
        # Only where the gold is a number or a quantity: for a formula, 3km is the product 3*k*m.
        answer = with_spelled_unit(answer)
    if {answer.kind, gold.kind} == {"degree", "quantity"}:  # 90^\circ is not 90'
        answer, gold = (quantity(node.args[0], "degree") if node.kind == "degree" else node for node in (answer, gold))
    if answer.kind == gold.kind == "quantity":
        if answer.value == gold.value:
            return compare_nodes(answer.args[0], gold.args[0], leaf)
        sizes = in_base_units(answer), in_base_units(gold)
        return None not in sizes and sizes[0] == sizes[1]
    if "quantity" in (answer.kind, gold.kind):
        unit = answer.value if answer.kind == "quantity" else gold.value
        if unit[0][0].startswith(("compound ", "arc")):  # a mark as in 5' has many meanings
            return False
        return compare_nodes(_bare(answer, "quantity"), _bare(gold, "quantity"), leaf)
    if answer.kind == "degree" or gold.kind == "degree":
        return compare_nodes(_bare(answer, "degree"), _bare(gold, "degree"), leaf)
    return leaf(answer, gold)


def _bare(node: Node, kind: str) -> Node:
    return node.args[0] if node.kind == kind else node


def _in_order(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    return _all([_compare_items(a, g, leaf) for a, g in zip(answer.args, gold.args, strict=True)])


def _without_pairs(answer: Iterable[Node], gold: Iterable[Node]) -> tuple[list[Node], list[Node]]:
    """Returns the items of two lists that have no equal in the other list."""
    waiting: dict[Node, list[Node]] = {}
    for item in answer:
        waiting.setdefault(canonical(item), []).append(item)
    unpaired = [item for item in gold if not _taken(waiting.get(canonical(item)))]
    return [item for items in waiting.values() for item in items], unpaired


def _taken(items: list[Node] | None) -> bool:
    return bool(items and items.pop())


def _compare_items(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    """Compares two items of collections, where {1} is not 1."""
    if ("set" in (answer.kind, gold.kind) and answer.kind != gold.kind) or (answer.kind == "list") != (
        gold.kind == "list"
    ):
        return False
    return compare_nodes(answer, gold, leaf)


def _all(verdicts: list[Verdict]) -> Verdict:
    return False if False in verdicts else None if None in verdicts else True


def _in_any_order(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    """Matches each gold item with an answer item of its own: equal trees first, then certain and possible matches."""
    remaining, wanted = _without_pairs(answer.args, gold.args)
    if len(remaining) > MAX_UNPAIRED:  # comparing each with each takes the square of their number
        return False
    certain = True
    for gold_item in wanted:
        # Greedy: of two items that both equal the gold's, either may be taken.
        verdicts = [_compare_items(item, gold_item, leaf) for item in remaining]
        chosen = next(
            (i for i, v in enumerate(verdicts) if v), next((i for i, v in enumerate(verdicts) if v is None), None)
        )
        if chosen is None:
            # An earlier uncertain choice may have taken this one's partner.
            return False if certain else None
        certain = certain and verdicts[chosen] is True
        del remaining[chosen]
    return True if certain else None


def _without_repeats(node: Node) -> Node:
    """Returns a list or set without repeated items, which add no information."""
    if node.kind not in ("list", "set"):
        return node
    return Node(node.kind, tuple({canonical(item): item for item in node.args}.values()), node.value)


def _tuples_of_assignments(answer: Node, gold: Node, leaf: Leaf) -> Verdict:
    """Compares `p=5,q=2;p=7,q=2` with `(5,2),(7,2)`, if the assignments and tuples have as many values."""
    flat_answer, flat_gold = flat_assignments(answer), flat_assignments(gold)
    if flat_answer is None or flat_gold is None or len(flat_answer) != len(flat_gold):
        return False
    if not any(part.kind == "relation" for part in (*answer.args, *gold.args)):
        return False
    return _all([compare_nodes(a, g, leaf) for a, g in zip(flat_answer, flat_gold, strict=True)])
