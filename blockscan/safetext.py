"""Make text from a chain safe to show: no terminal escapes, no reordering, no invisible characters.

Token names, error texts and log data are attacker-written. `safe_text` is for terminals, logs and
plain-text widgets; it keeps square brackets, so give its result to rich as `rich.text.Text(...)` (or
with markup off), never inside a markup string.
"""

import unicodedata

TEXT_LIMIT = 160
ELLIPSIS = "…"

# Cc escapes and controls, Cf bidi and zero-width, Cs lone surrogates (cannot be printed), Co and Cn
# private or unassigned (the font decides what they look like).
_DROPPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# Blank in every font although Unicode calls them letters, symbols or marks.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_VARIATION_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
# More marks than this on one letter only serve to paint over the neighbouring lines.
_MARKS_PER_LETTER = 2


def safe_text(text: str, *, limit: int = TEXT_LIMIT) -> str:
    """One line of at most `limit` visible characters; white space becomes single blanks.

    Source: Unicode TR 36 and TR 9 (spoofing by format and bidirectional characters).
    """
    if text.isascii() and text.isprintable():  # nearly all text is, and there is nothing to drop
        return _cut(" ".join(text[: 4 * limit].split()), text, limit)
    kept: list[str] = []
    marks = 0
    # Four times the limit leaves room for what is dropped and bounds the work on a megabyte of text.
    for char in text[: 4 * limit]:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in ("Zs", "Zl", "Zp") or char in "\t\n\r\v\f":
            kept.append(" ")
        elif category not in _DROPPED_CATEGORIES and not _is_blank(char) and marks <= _MARKS_PER_LETTER:
            kept.append(char)
    return _cut(" ".join("".join(kept).split()), text, limit)


def _cut(line: str, text: str, limit: int) -> str:
    if len(line) > limit or len(text) > 4 * limit:
        line = line[: max(limit - 1, 0)] + ELLIPSIS
    return line


def _is_blank(char: str) -> bool:
    return char in _BLANK or any(ord(char) in selectors for selectors in _VARIATION_SELECTORS)
