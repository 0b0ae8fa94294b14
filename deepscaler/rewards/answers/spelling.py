r"""Converts Unicode characters to TeX: `1⅔` is `1\frac{2}{3}`, `101₂` is `101_{2}`.

The conversion is a single pass over the characters. It changes the spelling of an answer, never its meaning: a
superscript stays a superscript, where NFKC alone would turn `10²` into 102.
"""

import re
import unicodedata

_CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "∗": "*", "÷": "/", "⁄": "/", "∕": "/", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ",
    "⩾": r"\ge ", "≦": r"\le ", "≧": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≅": r"\cong ", "≡": r"\equiv ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∖": r"\setminus ", "∅": r"\emptyset ",
    "∀": r"\forall ",
    "±": r"\pm ", "∓": r"\mp ", "°": r"^{\circ}", "˚": r"^{\circ}", "º": r"^{\circ}", "℃": r"^{\circ}C",
    "℉": r"^{\circ}F",
    "∘": r"\circ ", "√": r"\sqrt ", "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "∧": r"\land ", "∨": r"\lor ", "¬": r"\lnot ",
    "→": r"\to ", "⇒": r"\Rightarrow ", "⟹": r"\Rightarrow ", "⇔": r"\Leftrightarrow ", "∠": r"\angle ",
    "△": r"\triangle ", "∥": r"\parallel ", "⊥": r"\perp ", "∣": "|", "∑": r"\sum ", "∫": r"\int ", "∏": r"\prod ",
    "∂": r"\partial ", "∇": r"\nabla ", "ℏ": r"\hbar ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
    "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ", "…": r"\ldots ", "⋯": r"\ldots ", "′": "'", "’": "'", "‘": "'",
    "″": "''", "“": '"', "”": '"', "„": '"', "、": ",", "。": ".", "，": ",", "；": ";", "：": ":", "（": "(",
    "）": ")",
    "【": "[", "】": "]", "％": r"\%", "‰": r"\permille ", "µ": r"\mu ", "Ω": r"\Omega ",
    "\u2062": " ", "\u2061": " ", "\u2063": ",",
}  # fmt: skip
_GREEK = {
    chr(code): f"\\{name} "
    for start, names in (
        (0x3B1, "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma"
                " tau upsilon phi chi psi omega"),
        (0x391, "Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu Nu Xi Omicron Pi Rho - Sigma Tau"
                " Upsilon Phi Chi Psi Omega"),
    )
    for code, name in enumerate(names.split(), start)
    if name != "-"
} | {"ϕ": r"\phi ", "ϵ": r"\epsilon ", "ϑ": r"\theta ", "ε": r"\epsilon "}  # fmt: skip
_TABLE = _CHARACTERS | _GREEK
_ASCII = re.compile(r"[\x20-\x7e]+")


def to_tex(text: str) -> str:
    """Returns the text in ASCII TeX as far as possible; other letters (`个`) stay, and invisible characters go."""
    # Nearly all answers are, and then this costs nothing.
    if text.isascii():
        return text
    parts: list[str] = []
    raised = ""
    for character in text:
        level, folded = _fold(character)
        # A run of raised characters is one exponent: 10¹² is 10^{12}, not 10^{1}^{2}.
        if level != raised:
            parts.append(("}" if raised else "") + (f"{level}{{" if level else ""))
            raised = level
        parts.append(folded)
    return "".join(parts) + ("}" if raised else "")


def _fold(character: str) -> tuple[str, str]:
    """Returns "^", "_" or "" for raised, lowered or plain, and the TeX of one character."""
    if character in _TABLE:
        return "", _TABLE[character]
    form = unicodedata.decomposition(character)
    folded = unicodedata.normalize("NFKC", character).replace("−", "-")
    if form.startswith("<super>"):
        return "^", folded
    if form.startswith("<sub>"):
        return "_", folded
    if form.startswith("<fraction>"):
        top, _, bottom = folded.partition("⁄")
        return "", f"\\frac{{{top}}}{{{bottom}}}" if bottom.isdigit() else folded
    if form.startswith("<circle>"):  # ①② is not 12
        return "", f"({folded})"
    # Zero-width and direction marks: models copy them from web pages, and nobody sees them.
    if unicodedata.category(character) in ("Cf", "Zl", "Zp"):
        return "", ""
    return "", "".join(_TABLE.get(part, part) for part in folded) if folded else " "
