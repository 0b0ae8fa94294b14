r"""Extracts the answer from a response: the content of the last box outside of all thinking, with balanced braces.

<think>so 2+2 is \boxed{5}? no, 4</think> The answer is \boxed{4}.   ->   "4"
It is \boxed{2} or \boxed{3}.                                        ->   "2, 3"
"""

import re
from typing import NamedTuple

THINK_START, THINK_END = "<think>", "</think>"
_MARK = re.compile(r"</?think>")
# Escaped braces and backslashes match without a group: they are consumed, so they neither open nor close anything.
_TOKEN = re.compile(
    r"(?P<box>\\(?:boxed|fbox)\s*\{)|(?P<bare>\\boxed\s+(?=[^\s{]))|\\\\(?!boxed|fbox)|\\[{}]|(?P<brace>[{}])"
)
_BETWEEN = re.compile(
    r"(?:[\s$,;:&.]|\\[\[\]()\\,; ]|\\q?quad|(?:and|or)\b|\\text\{\s*(?:and|or)\s*\}|\b[a-z](?:_\d)?\s*=)*"
)
_MAX_BETWEEN = 40
"""Most characters between boxes that belong together."""


class Box(NamedTuple):
    """Holds one box: its content, its start and its end."""

    content: str
    start: int
    end: int


def after_thinking(response: str) -> str | None:
    """Returns the text after a response's thinking; None if the response was cut off before.

    Thinking again (`<think>` after an answer) does not retract the answer; a second `</think>` alone does.
    """
    kept: list[str] = []
    # Thinking from the start: today's R1 template writes <think> into the prompt, and the response begins behind it.
    thinking, ended, position = True, False, 0
    for mark in _MARK.finditer(response):
        if mark.group() == THINK_END:
            if not thinking:  # so all text before it was thinking
                kept.clear()
            thinking, ended = False, True
        else:
            if not thinking:
                kept.append(response[position : mark.start()])
            thinking = True
        position = mark.end()
    if not ended:
        return None
    return "".join(kept) + ("" if thinking else response[position:])


def last_boxed(text: str) -> str | None:
    r"""Returns the content of the last `\boxed{...}` (also `\fbox{}`, `\boxed 4`); None without one.

    An empty box after a full one is ignored. Boxes separated only by a comma or a conjunction form one answer of
    several parts, so boxing two candidates gives two values, not a choice.
    """
    boxes = outermost_boxes(text)
    full = [box for box in boxes if box.content]
    if not full:
        return boxes[-1].content if boxes else None
    parts = [full[-1]]
    for box in reversed(full[:-1]):
        between = text[box.end : parts[0].start]
        if len(between) > _MAX_BETWEEN or not _BETWEEN.fullmatch(between):
            break
        parts.insert(0, box)
    # Each content once: an answer that is boxed again in the last sentence is one answer, not two.
    contents = list(dict.fromkeys(box.content for box in parts))
    return ", ".join(contents)


def outermost_boxes(text: str) -> list[Box]:
    """Returns the boxes in a text; if a box contains only another box, the inner one.

    The function makes a single pass over the text, so thousands of unclosed boxes cost no more than one.
    """
    boxes: list[Box] = []
    open_braces: list[tuple[int, int] | None] = []  # where a box and its content start; None for any other brace
    for token in _TOKEN.finditer(text):
        if token["box"]:
            open_braces.append((token.start(), token.end()))
        elif token["bare"]:
            # A slice of 100 characters, because thousands of `\boxed x` would otherwise each copy the rest of the text.
            content = re.split(r"[\s$]", text[token.end() : token.end() + 100], maxsplit=1)[0]
            boxes.append(Box(content, token.start(), token.end() + len(content)))
        elif token["brace"] == "{":
            open_braces.append(None)
        elif token["brace"] == "}" and open_braces:
            opened = open_braces.pop()
            if opened is not None:
                start, content_start = opened
                content = text[content_start : token.start()].strip()
                while boxes and boxes[-1].start > start:  # a box in a box
                    inner = boxes.pop()
                    if text[inner.start : inner.end] == content:
                        content = inner.content
                boxes.append(Box(content, start, token.end()))
    return boxes
