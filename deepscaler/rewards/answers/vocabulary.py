"""Loads the words and commands that may appear in an answer; `vocabulary.toml` lists them by their effect."""

import tomllib
from pathlib import Path

_MIN_NOUN = 5
"""Least letters of an unknown plural noun."""

_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_WORDS, _COMMANDS = _TABLES["words"], _TABLES["commands"]


def _words(name: str) -> frozenset[str]:
    return frozenset(_WORDS[name].split())


def _commands(name: str) -> frozenset[str]:
    return frozenset(_COMMANDS[name].split())


def _units() -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    names: dict[str, str] = {}
    sizes: dict[str, tuple[str, str]] = {}
    for dimension, groups in _TABLES["units"].items():
        for group in groups.split(";"):
            spelled, _, size = group.partition("=")
            canonical, *_ = spelled.split()
            names.update(dict.fromkeys(spelled.split(), canonical))
            if size:
                sizes[canonical] = (dimension, size.strip())
    return names, sizes


UNITS, SIZES = _units()
"""Spelling -> canonical unit; canonical unit -> its dimension and its size there."""

FILLERS, PERCENT, SEPARATORS = _words("fillers"), _words("percent"), _words("separators")
QUANTIFIERS, IN_NOTES, DENIALS = _words("quantifiers"), _words("in_notes"), _words("denials")
FUNCTION_WORDS, PHRASES, _NO_NOUNS = _words("functions"), _words("phrases"), _words("no_nouns")
SCALES: dict[str, int] = _WORDS["scales"]
BASES: dict[str, int] = _WORDS["bases"]
UPRIGHT_UNITS: dict[str, str] = _WORDS["upright"]
CURRENCIES: dict[str, str] = _WORDS["currencies"]

SPACES, IGNORED, WITH_ARGUMENT = _commands("spaces"), _commands("ignored"), _commands("with_argument")
TEXTS, ROMAN, FONTS = _commands("texts"), _commands("roman"), _commands("fonts")
FUNCTIONS = {f"\\{name}": name for name in _commands("functions")}
PENDING, ACCENTS, NO_VALUES = (
    frozenset(f"\\{name}" for name in _commands(key)) for key in ("pending", "accents", "no_values")
)
ALIASES = {other: name for name, others in _COMMANDS["aliases"].items() for other in others.split()}


def unit_of(word: str) -> str | None:
    """Returns the canonical unit that a word of at least two letters names; None if it names none."""
    lower = word.lower()
    if (found := UNITS.get(word)) or (len(word) > 1 and (found := UNITS.get(lower))):
        return found
    for ending in ("es", "s"):
        if lower.endswith(ending) and len(lower) > len(ending) + 1 and (found := UNITS.get(lower.removesuffix(ending))):
            return None if lower in _NO_NOUNS else found
    return None


def counted_noun(word: str) -> str | None:
    """Returns the singular of an unknown plural noun (`zebras`), which names things counted; else None."""
    lower = word.lower()
    if len(lower) < _MIN_NOUN or not lower.endswith("s") or lower.endswith(("ss", "ths", "us", "is", "folds")):
        return None
    known = lower in _NO_NOUNS or lower in DENIALS or lower.removesuffix("s") in SCALES or lower in FUNCTION_WORDS
    return None if known else lower.removesuffix("s")


def is_word(run: str) -> bool:
    """Returns whether a run of letters is a word rather than a product of variables."""
    lower = run.lower()
    classes = (SEPARATORS, QUANTIFIERS, SCALES, PERCENT, PHRASES, ("sq", "cubic"))
    if any(lower in known for known in classes):
        return True
    return len(run) > 3 and (lower in IN_NOTES or lower in DENIALS or unit_of(run) is not None)
