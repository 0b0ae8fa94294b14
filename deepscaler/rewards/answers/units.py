r"""Units and currency around a value: `10 weeks`, `\$18`, `64\text{ cm}^2`.

A unit that only one side states is ignored; two different units are two different answers.
"""

import re

_NAMES: dict[str, str] = {
    "angle": "arcsecond arcsec; arcminute arcmin",
    "length": "mm millimeter millimetre; cm centimeter centimetre; km kilometer kilometre; meter metre; inch inches in;"
    " ft foot feet; yard yd; mile mi; angstrom; nm nanometer; au; pc parsec; light-year",
    "time": "second sec; minute min; hour hr; day; week; month; year yr; century centuries; ms; ns",
    "mass": "kg kilogram; gram; mg milligram; pound lb; ounce oz; ton",
    "money": "dollar usd; cent; euro; pence; rupee",
    "volume": "liter litre; ml milliliter millilitre; gallon; quart; cup",
    "physics": "hz hertz; mhz; ghz; kelvin; joule; kj; newton; watt; kw kilowatt; volt; ohm; amp ampere; ev; mev; gev;"
    " mol mole; pa pascal; atm; erg; dyne; tesla; gauss; mph; kph; rpm; db; celsius; fahrenheit",
    "counts": "unit; way; people person; student; child children; boy; girl; man men; woman women; apple; marble; coin;"
    " book; point; time; step; card; page; ball; box boxes; integer; number; solution; square; triangle; side; vertex"
    " vertices; edge; face; digit; term; game; team; set; sheet; piece; degree; radian; arrangement; outcome; path;"
    " pair; triple; value; word; letter; color colour; car; dog; cat; tree; flower; block; cube; tile; ticket; meal",
}
MAX_LENGTH = 40
"""Characters of a unit without a macro around it."""

_CANONICAL = {name: group.split()[0] for line in _NAMES.values() for group in line.split(";") for name in group.split()}
_MODIFIERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_CURRENCY = re.compile(r"\\\$|\\pounds|[€£¥]")
_POWER = r"(?:\^\s*(?:\{\s*-?\d\s*\}|\d))?"
_TEXT_UNIT = re.compile(rf"(?<=[\w}})!])\s*((?:\s*/?\s*\\text\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}}\s*{_POWER})+)$")
_UNIT_TEXT = re.compile(r"(?![a-fi-kn-rt-z]$)(?=[A-Za-z°/])(?:[A-Za-zµμ°/.\s-]|\^\s*\{?\s*-?\d\s*\}?)+")
_NO_UNIT = re.compile(
    r"\b(?:or|and|to|plus|minus|times|more|less|least|most|not|squared|cubed|factorial|mod|if|hundred|thousand"
    r"|[mbtr]+illion|dozen|half|approximately|about|between|is|are|was|no|wrong)\b"
)
"""Words that say something about the value itself: `5\text{ or 6}` is no unit."""

_PLAIN_UNIT = re.compile(r"(?<=[\d})])\s*(?=[A-Za-z])")
_SECONDS_OF_ARC = re.compile(r"(?<=\d)\s*('{1,2})$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_WORD = re.compile(r"([A-Za-z-]+)\.?\s*(\^\s*\{?\d\}?)?")


def split_unit(text: str) -> tuple[str, str | None]:
    r"""A value and its canonical unit: `10\text{ inches}` -> ("10", "inch"), `2x` -> ("2x", None)."""
    bare = _CURRENCY.sub("", text).strip()
    currency = "dollar" if bare != text else None
    if not _TRIGONOMETRIC.search(bare):
        bare = re.sub(r"(?<=[\d)}])\s*\^\s*\\circ\s*[CF]?$", "", bare)
    if match := _SECONDS_OF_ARC.search(bare):
        return bare[: match.start()], "arcminute" if len(match[1]) == 1 else "arcsecond"
    if match := _TEXT_UNIT.search(bare):
        words = re.sub(r"\\text\{((?:[^{}]|\{[^{}]*\})*)\}", r" \1", match[1]).strip()
        if _UNIT_TEXT.fullmatch(words) and not _NO_UNIT.search(words.lower()):
            return bare[: match.start()].strip(), _canonical(words) or re.sub(r"\s+", " ", words.lower())
    for match in _PLAIN_UNIT.finditer(bare):
        if len(bare) - match.end() <= MAX_LENGTH and (unit := _canonical(bare[match.end() :])):
            return bare[: match.start()].strip(), unit
    return bare, currency


def _canonical(words: str) -> str | None:
    """The unit that some words name; None as soon as one is not a unit."""
    found = []
    power = ""
    for match in _WORD.finditer(words):
        word = match[1].lower()
        name = _CANONICAL.get(word) or _CANONICAL.get(word.removesuffix("s"))
        if word in _MODIFIERS and match.end() < len(words.rstrip()):
            power = _MODIFIERS[word]
        elif word in ("per", "of", "the"):
            found.append("/" if word == "per" else "")
        elif name is None:
            return None
        else:
            found.append(name + (re.sub(r"[\s{}]", "", match[2]) if match[2] else power))
    return " ".join(filter(None, found)) or None
