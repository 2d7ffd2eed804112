"""Hostile strings: escapes, bidi, zero width, blanks, marks, surrogates, rich markup, CSV formulas."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blockscan.safetext import ELLIPSIS, TEXT_LIMIT, safe_text


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        ("USD Coin", "USD Coin"),
        ("токен 代币 é", "токен 代币 é"),
        ("\x1b[2J\x1b]0;pwned\x07x", "[2J]0;pwnedx"),
        ("a\x9b31mb", "a31mb"),
        ("\u202egnp.exe\u2066x\u2069\u200e\u061c", "gnp.exex"),
        ("US\u200bD\u200dC\ufeff\u2060\u00ad\u180e", "USDC"),
        ("two\r\nlines\tand\u2028more\u2029\u00a0x", "two lines and more x"),
        ("\u3164\uffa0\u2800\u115f", ""),
        ("a\ufe0f\U000e0100b", "ab"),
        ("\U000e0041tag\ue000\ud800", "tag"),
        ("e" + "\u0301" * 50 + "x", "e\u0301\u0301x"),
        ("[/] [red]x[/red]", "[/] [red]x[/red]"),
        ("", ""),
    ],
)
def test_safe_text(hostile, safe):
    assert safe_text(hostile) == safe


def test_length_is_capped_visibly():
    assert safe_text("A" * 1000) == "A" * (TEXT_LIMIT - 1) + ELLIPSIS
    assert safe_text("A" * TEXT_LIMIT) == "A" * TEXT_LIMIT
    assert safe_text("abcdef", limit=3) == "ab" + ELLIPSIS
    assert safe_text("\u200b" * 10_000 + "hidden end").endswith(ELLIPSIS)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300))
def test_plain_text_is_read_as_text_with_something_to_drop_is(text):
    assert safe_text(text) == safe_text(text + "\u200b")


@given(st.text(st.characters(codec=None), max_size=300))
def test_whatever_comes_in_one_printable_line_goes_out(text):
    safe = safe_text(text)
    assert len(safe) <= TEXT_LIMIT
    assert not [
        char for char in safe if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    ]
    safe.encode()
    assert safe_text(safe) == safe


def test_markup_is_shown_as_it_is_when_given_to_rich_as_text():
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    table = Table()
    table.add_column("name")
    table.add_row(Text(safe_text("[/] [link=http://x]y\x1b[31m")))
    console.print(table)
    written = console.file.getvalue()
    assert "[/] [link=http://x]y[31m" in written and "\x1b[31m" not in written
