r"""Reads an answer once, character by character, into tokens: `\dfrac{1}{2}\text{ cm}` -> \frac { 1 } { 2 } cm.

Every character becomes a token, or a rule of this module drops it and says why it does not matter. Length and depth are
bounded before anything else, so code that uses the tokens may recurse and takes linear time.
"""

import re
from functools import lru_cache

from deepscaler.rewards.answers.brackets import Brackets, Style
from deepscaler.rewards.answers.digits import begins_period, read_digits
from deepscaler.rewards.answers.spelling import to_tex
from deepscaler.rewards.answers.tokens import MAX_DEPTH, MAX_LENGTH, Token, UnreadableError
from deepscaler.rewards.answers.vocabulary import (
    ALIASES,
    FONTS,
    FUNCTION_WORDS,
    IGNORED,
    ROMAN,
    SPACES,
    TEXTS,
    UNITS,
    WITH_ARGUMENT,
    is_word,
    unit_of,
)

_LETTERS = re.compile(r"[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
_ROW_GAP = re.compile(r"\[-?\d+(?:\.\d+)?\s*\w*\]")
_SYMBOLS = {
    "<=": "\\le", ">=": "\\ge", "!=": "\\ne", "**": "^", "=>": "\\Rightarrow", "->": "\\to", "//": "/", "==": "=",
}  # fmt: skip
_BRACKETS = {
    "langle": "(", "lparen": "(", "lbrack": "[", "rangle": ")", "rparen": ")", "rbrack": "]",
    "lbrace": "\\{", "rbrace": "\\}",
}  # fmt: skip
_VALUES = frozenset({")", "}", "\\pi", "/", "\\circ"})
_CONTROL_SPACES, _DELIMITERS = frozenset(",;:> \n/"), frozenset("!()[]-")
_SPACELESS = frozenset({"{:}", "{=}", "{<}", "{>}"})
"""Relations in braces, around which TeX adds no space."""
_MAX_ARGUMENT = 40
_ENDS = frozenset({".", ",", ";", ":", "\\\\"})
_GOES_ON = frozenset({"=", ":", "\\therefore", "\\Rightarrow"})
_WRAPPERS = {"**": "**", "__": "__", "`": "`", '"': '"', "``": "''", "*": "*", "'": "'"}


class Scanner(Brackets):
    """Reads one text."""

    def scan(self) -> tuple[Token, ...]:
        """Returns all tokens. Raises UnreadableError if the text is unbalanced or too deep."""
        while self.position < len(self.text):
            self._step(self.text[self.position])
        if self.opened or self.environments:
            raise UnreadableError("unbalanced")
        return tuple(self.tokens)

    def _step(self, character: str) -> None:
        if character == "\\":
            self._command()
        elif character.isdigit() or (character == "." and self._begins_decimals()):
            self._number()
        elif character.isalpha():
            self._letters()
        else:
            self._symbol(character)

    def _begins_decimals(self) -> bool:
        if self.tokens and self.tokens[-1].kind == "number" and not self.spaced:
            return False
        here = self.position + 1
        return self.text[here : here + 1].isdigit() or begins_period(self.text, here)

    def _symbol(self, character: str) -> None:
        here, self.position = self.position, self.position + 1
        if self.text[here : here + 3] == "...":
            self.position = here + 3
            self.emit("command", "\\ldots")
        elif symbol := _SYMBOLS.get(self.text[here : here + 2]):
            self.position = here + 2
            self.emit("command" if symbol[0] == "\\" else "symbol", symbol)
        elif character.isspace() or character == "~":
            self.spaced = True
        elif self.text[here : here + 3] in _SPACELESS:
            self.position = here + 3
            self.emit("symbol", self.text[here + 1])
        elif character == "{":
            self.open_brace()
        elif character == "}":
            self.close_brace()
        elif character in "([":
            self.open_bracket(character)
        elif character in ")]":
            self.close_bracket(character)
        elif character == "*":
            self.emit("command", "\\cdot")
        elif character != "$":  # $ delimits mathematics; a dollar is \$
            self.emit("symbol", character)

    def _command(self) -> None:
        match = _LETTERS.match(self.text, self.position + 1)
        if not match:
            self._control_symbol(self.text[self.position + 1 : self.position + 2])
            return
        name, self.position = ALIASES.get(match.group(), match.group()), match.end()
        if name in SPACES:
            self.spaced = True
        elif name in IGNORED:  # \left. and \right. are invisible brackets
            self.position += name in ("left", "right") and self.text[self.position : self.position + 1] == "."
        elif name in WITH_ARGUMENT:
            self._skip_argument()
        elif name in TEXTS or name in ROMAN or name in FONTS:
            self._styled("text" if name in TEXTS else "roman" if name in ROMAN else "plain")
        elif name in ("begin", "end"):
            self._environment(name)
        elif name in _BRACKETS:
            self._bracket(_BRACKETS[name])
        elif name in ("vert", "Vert"):
            self.emit("symbol", "|" if name == "vert" else "\\|")
        else:
            self.emit("command", "\\" + name)

    def _control_symbol(self, character: str) -> None:
        self.position += 2
        if character in ("{", "}"):
            self._bracket("\\" + character)
        elif character in _CONTROL_SPACES:
            self.spaced = True
        elif character == "\\":
            self.position = gap.end() if (gap := _ROW_GAP.match(self.text, self.position)) else self.position
            self.emit("symbol", "\\\\")
        elif character and character not in _DELIMITERS:
            self.emit("symbol", character if character in "%#&_" else "\\" + character)

    def _bracket(self, symbol: str) -> None:
        if symbol in ("(", "[", "\\{"):
            self.open_bracket(symbol)
        else:
            self.close_bracket(symbol)

    def _skip_argument(self) -> None:
        """Skips a command's argument that does not matter: a color, the width of a gap, an invisible text."""
        while self.text[self.position : self.position + 1] == " ":
            self.position += 1
        if self.text[self.position : self.position + 1] != "{":
            self.position += 1
            return
        end = self.text.find("}", self.position, self.position + _MAX_ARGUMENT)
        if end < 0:
            raise UnreadableError("argument")
        self.position, self.spaced = end + 1, True

    def _styled(self, style: Style) -> None:
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1
        self.spaced = self.spaced or style == "text"
        if self.text[self.position : self.position + 1] == "{":  # unlike `\mathbb R`
            self.position += 1
            self.open(style)

    def _environment(self, which: str) -> None:
        end = self.text.find("}", self.position, self.position + _MAX_ARGUMENT)
        name = self.text[self.position : end].strip(" {*")
        if end < 0 or not name.isalpha():
            raise UnreadableError(which)
        self.position = end + 1
        if which == "begin":
            if len(self.environments) >= MAX_DEPTH:
                raise UnreadableError("too deep")
            self.environments.append(name)
            if name == "array" and self.text[self.position : self.position + 1] == "{":
                self._skip_argument()
        elif not self.environments or self.environments.pop() != name:
            raise UnreadableError(name)
        self.emit("command", f"\\{which}:{name}", roman=False)

    def _letters(self) -> None:
        style = self.style()
        match = (_WORD if style == "text" else _LETTERS).match(self.text, self.position)
        if not match:  # other scripts, such as Chinese: the longest run
            end = self.position + 1
            while end < len(self.text) and self.text[end].isalpha() and not self.text[end].isascii():
                end += 1
            run, self.position = self.text[self.position : end], end
            self.emit("word", run)
            return
        start, self.position = self.position, match.end()
        run, enclosed = match.group(), self.text[start - 1 : start] + self.text[match.end() : match.end() + 1]
        if run == "x" and self._is_times():
            self.emit("command", "\\times", roman=False)
        elif len(run) == 1:
            self.emit("letter", run)
        elif self._is_unit(run, style):
            self.emit("word", run)
        elif run.lower() in FUNCTION_WORDS and (style != "text" or enclosed == "{}"):  # \text{lcm}(m,n)
            self.emit("command", "\\" + ALIASES.get(run.lower(), run.lower()), roman=False)
        elif style == "text" or is_word(run) or (run.lower() in ("pm", "am") and self._follows_number()):
            self.emit("word", run)
        else:
            for letter in run:
                self.emit("letter", letter)

    def _follows_number(self) -> bool:
        return bool(self.tokens) and self.tokens[-1].kind == "number"

    def _is_times(self) -> bool:
        here = self.position + (self.text[self.position : self.position + 1] == " ")
        return self._follows_number() and self.text[here : here + 3] == "10^"

    def _is_unit(self, run: str, style: Style) -> bool:
        """Returns whether a run is a unit. Two or three letters in `3km` are variables unless they are upright."""
        if style == "text" or unit_of(run) is None:
            return False
        previous = self.tokens[-1] if self.tokens else None
        if style == "roman" or previous is None:
            return style == "roman"
        if previous.kind not in ("number", "word") and previous.text not in _VALUES:
            return False
        is_spelled = run in UNITS or (run.lower() in UNITS and len(run) > 2)
        return len(run) > 3 or previous.kind == "word" or (self.spaced and is_spelled)

    def _number(self) -> None:
        if self.single and self.text[self.position].isdigit():
            digits, self.position = self.text[self.position], self.position + 1
        else:
            after_comma = bool(self.tokens) and self.tokens[-1].text == "," and not self.spaced
            in_list = self.listed > 0
            digits, self.position = read_digits(self.text, self.position, in_list=in_list, after_comma=after_comma)
        self.emit("number", digits, roman=False)


@lru_cache(maxsize=4096)  # a gold is read again for every response of its group
def tokenize(text: str) -> tuple[Token, ...]:
    """Returns the tokens of an answer. Raises UnreadableError if it is too long, too deep or unbalanced."""
    # Before anything reads it: responses of 32,000 tokens can be one box.
    if len(text) > MAX_LENGTH:
        raise UnreadableError("too long")
    tokens = Scanner(_without_wrapping(_undouble_backslashes(to_tex(text)))).scan()
    start, end = 0, len(tokens)
    while end and tokens[end - 1].text in _ENDS:  # the period of a sentence
        end -= 1
    start = int(end > 0 and tokens[0].text in _GOES_ON)  # the box continues the text before it
    return tokens[start:end]


def _undouble_backslashes(text: str) -> str:
    r"""Returns `\frac` for `\\frac` from a source that was escaped twice; row breaks of a matrix stay."""
    if r"\\begin" in text or (r"\begin" not in text and re.search(r"\\\\[a-zA-Z{}]", text)):
        return text.replace("\\\\", "\\")
    return text


def _without_wrapping(text: str) -> str:
    """Returns an answer without Markdown emphasis or quotation marks around the whole of it."""
    text = text.strip()
    for mark, end in _WRAPPERS.items():
        size = len(mark)
        # At most two marks: in **a** b **c** the outer ones do not belong together.
        if len(text) > 2 * size and text.startswith(mark) and text.endswith(end) and text.count(mark) <= 2:
            text = text[size:-size].strip()
    return text
