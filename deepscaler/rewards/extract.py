r"""The answer inside a response: after the last `</think>`, the last `\boxed{}` with balanced braces.

<think>so 2+2 is \boxed{5}? no, 4</think> The answer is \boxed{4}.   ->   "4"
"""

import re

THINK_END = "</think>"
_TOKEN = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|(?P<bare>\\boxed\s+(?=[^\s{]))|\\[\\{}]|(?P<brace>[{}])")


def after_thinking(response: str) -> str | None:
    """What follows the last `</think>`; None where the response was cut off before it."""
    _, separator, text = response.rpartition(THINK_END)
    return text if separator else None


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces balance (also `\fbox{}` and `\boxed 4`); None without one.

    One pass over the text, so that thousands of unclosed boxes cost no more than one.
    """
    answer, answer_start = None, -1
    open_braces: list[int | None] = []  # where the content of a box starts; None for any other brace
    for token in _TOKEN.finditer(text):
        if token["box"]:
            open_braces.append(token.end())
        elif token["bare"]:
            answer, answer_start = re.split(r"[\s$]", text[token.end() :], maxsplit=1)[0], token.end()
        elif token["brace"] == "{":
            open_braces.append(None)
        elif token["brace"] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and start > answer_start:
                answer, answer_start = text[start : token.start()].strip(), start
    return answer
