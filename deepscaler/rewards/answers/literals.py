r"""Answers compared by reading them alone: numbers, words, ratios, times, digits in a base. Nothing is computed."""

import re

from deepscaler.rewards.answers.numbers import parse_number, same_number
from deepscaler.rewards.answers.restatement import restates

Verdict = bool | None

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .-]*")
_RATIO = re.compile(r"\d{1,9}(?:\s*:\s*\d{1,9})+")
_CLOCK = re.compile(r"0?(\d{1,2}:\d{2})(?::00)?([ap]m)?")
_BASED = re.compile(r"\(?(\d+)\)?_\{?(\d+)\}?")
_DECIMAL_COMMA = re.compile(r"-?(?:0,\d+|\d+,(?!\d{3}$)\d+)")
_APART = re.compile(r"\d\s+\d")
_SPACES = re.compile(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])|(\d)\s+(?=\d)|\s+")


def decide_cheaply(answer: str, gold: str) -> Verdict:
    """The verdict on two normalised scalars, the rule against restatements included; None if reading cannot tell."""
    if same_spelling(answer, gold):
        return True
    answer_number, gold_number = parse_number(answer), parse_number(gold)
    if answer_number and gold_number:
        return same_number(answer_number, gold_number)
    if restates(answer, gold) or _APART.search(answer):
        return False
    for decide in (_same_base, _same_ratio, _same_words):
        verdict = decide(answer, gold)
        if verdict is not None:
            return verdict
    return None


def same_spelling(answer: str, gold: str) -> bool:
    """Equal but for spaces."""
    return without_spaces(answer) == without_spaces(gold)


def without_spaces(text: str) -> str:
    r"""No spaces but those that end a command (`\pi r`) or part two numbers (`3 1/2`)."""
    return _SPACES.sub(lambda match: f"{match[1] or match[2]} " if match[1] or match[2] else "", text)


def is_decimal_comma(answer: str, gold: str) -> bool:
    """`1000,99` is 1000.99 (but `1,234` is no 1.234); a list of two is never written with a point."""
    return any(
        _DECIMAL_COMMA.fullmatch(comma) is not None and comma.replace(",", ".") == point
        for comma, point in ((answer, gold), (gold, answer))
    )


def _same_base(answer: str, gold: str) -> Verdict:
    """`52_8` is not `52_9`; a base that only one of them names is that of the question."""
    answer_digits, gold_digits = (_BASED.fullmatch(text) for text in (answer, gold))
    if answer_digits and gold_digits:
        return answer_digits.groups() == gold_digits.groups()
    if answer_digits or gold_digits:
        return _BASED.sub(r"\1", answer) == _BASED.sub(r"\1", gold)
    return None


def same_clock(answer: str, gold: str) -> bool:
    r"""`20:34:00` is `20:34`, `\text{6:00 PM}` is `6:00 p.m.`."""
    times = [_CLOCK.fullmatch(re.sub(r"[\s.]", "", _TEXT.sub(r"\1", text)).lower()) for text in (answer, gold)]
    return bool(times[0] and times[1] and times[0].groups() == times[1].groups())


def _same_ratio(answer: str, gold: str) -> Verdict:
    """`2:4` is `1:2`; where a part is zero-padded it is a time of day."""
    if not (_RATIO.fullmatch(answer) and _RATIO.fullmatch(gold)):
        return None
    parts = [[part.strip() for part in text.split(":")] for text in (answer, gold)]
    if len(parts[0]) != len(parts[1]) or any(part.startswith("0") for part in parts[0] + parts[1]):
        return False
    (a, *_), (g, *_) = parts
    return all(int(x) * int(g) == int(a) * int(y) for x, y in zip(*parts, strict=True))


def _same_words(answer: str, gold: str) -> Verdict:
    is_text = "\\text" in answer or "\\text" in gold
    answer_words, gold_words = _words(answer, is_text), _words(gold, is_text)
    if answer_words and gold_words:
        return answer_words == gold_words
    if (answer_words and parse_number(gold)) or (parse_number(answer) and gold_words):
        return False
    return None


def _words(text: str, is_text: bool) -> str:
    r"""The lower-case words of a textual answer (`\text{(C)}`, `Evelyn`); empty for mathematics such as `xy`."""
    bare = _TEXT.sub(r"\1", text).strip()
    bare = re.sub(r"^\(?([A-Za-z])\)$", r"\1", bare).strip(" .")
    if not _WORDS.fullmatch(bare) or not (is_text or len(bare) > 3):
        return bare.lower() if len(bare) == 1 and bare.isalpha() else ""
    return " ".join(bare.lower().split())
