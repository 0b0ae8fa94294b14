r"""Removes introductions that do not change a value (`The answer is 4`), and joins quantities (`2 h 30 min`)."""

from deepscaler.rewards.answers.expression import Parser
from deepscaler.rewards.answers.nodes import Node
from deepscaler.rewards.answers.reader import Span
from deepscaler.rewards.answers.tokens import UnreadableError
from deepscaler.rewards.answers.units import compound
from deepscaler.rewards.answers.vocabulary import DENIALS, PHRASES, SEPARATORS

MAX_PARTS = 4
"""Most parts of a quantity: days, hours, minutes, seconds."""


_ARTICLES = frozenset({"a", "an", "the"})
_MAX_INTRODUCTION = 8
"""Most tokens before a word that is the answer."""


def without_introduction(span: Span) -> Span:
    """Returns the answer after an introduction and an article: `The answer is an ellipse`."""
    core = _introduced(span)
    article, noun = core.at(core.start), core.at(core.start + 1)
    if not (article and noun and article.roman and article.text.lower() in _ARTICLES):
        return core
    is_noun = noun.kind == "word" and noun.text.lower() not in SEPARATORS
    return core.between(core.start + 1, core.end) if is_noun else core


def _introduced(span: Span) -> Span:
    r"""Returns the value after words that name it: `The answer is 4`, `\text{number of ways: } 5`, `\text{Answer: }5`.

    Words that qualify a value (`not`, `at least`, `about`) do not introduce one.
    """
    index = span.start
    while (token := span.at(index)) and (
        token.kind == "word" or (token.kind == "letter" and token.roman) or _is_pause(span, index)
    ):
        # `The answer is not 4` must not become 4, nor `at least 4`.
        if token.text.lower() in DENIALS:
            return span
        index += 1
        following = span.at(index)
        if token.text.lower() == "is" and following and (following.kind != "word" or _is_answer(span, index)):
            return span.between(index, span.end)
    words = span.tokens[span.start : index]
    if token is None or not words or words[-1].kind != "word":
        return span
    if token.text == ":" and index + 1 < span.end:
        return span.between(index + 1, span.end)
    is_phrase = all(t.kind == "word" and t.text.lower() in PHRASES for t in words)
    return span.between(index, span.end) if is_phrase and words[-1].text.lower() == "answer" else span


def _is_answer(span: Span, index: int) -> bool:
    """Returns whether a word without qualification follows `the answer is`: `The answer is Evelyn`."""
    if index - span.start > _MAX_INTRODUCTION:
        return False
    before = [text.lower() for text in span.between(span.start, index - 1).texts() if text != ","]
    denied = any(text.lower() in DENIALS for text in span.between(index, span.end).texts())
    return before[-1:] == ["answer"] and PHRASES.issuperset(before) and not denied


def _is_pause(span: Span, index: int) -> bool:
    """Returns whether a token is a comma between two words: `Thus, the answer is 7`."""
    before, after = span.at(index - 1), span.at(index + 1)
    return bool(span.tokens[index].text == "," and before and after and before.kind == after.kind == "word")


def compound_quantity(span: Span) -> Node | None:
    r"""Returns `2 hours 30 minutes`, `2 hours and 30 minutes` or `5^\circ 30'` as one quantity; else None."""
    first = span.at(span.start)
    if first is None or first.kind != "number":
        return None
    parser = Parser(span, upright=False)
    parts: list[Node] = []
    try:
        while parser.peek() is not None:
            part = parser.term()
            # 5^\circ 30' is one angle, so its degrees count as a unit here.
            part = Node("quantity", part.args, (("degree", 1),)) if part.kind == "degree" else part
            parts.append(part)
            if part.kind != "quantity" or len(parts) > MAX_PARTS:
                return None
            parser.index += parser.text() == ","
            parser.index += parser.text() == "and"
    except UnreadableError:
        return None
    return compound(parts)
