"""What a client calls itself can neither hide, reverse nor overflow what stands around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth.clients.rules import client_ids, names

# What becomes another letter, or another order of marks, once what stands between is gone.
JOINING = "Ua そ\N{ZERO WIDTH SPACE}\N{ZERO WIDTH JOINER}\N{HANGUL FILLER}\N{NO-BREAK SPACE}" + (
    "\N{COMBINING GRAVE ACCENT}\N{COMBINING GRAVE ACCENT BELOW}\N{COMBINING LONG SOLIDUS OVERLAY}"
    "\N{COMBINING KATAKANA-HIRAGANA VOICED SOUND MARK}\N{ACUTE ACCENT}"
    "\N{HANGUL CHOSEONG KIYEOK}\N{HANGUL JUNGSEONG A}\N{HANGUL JONGSEONG KIYEOK}"
)
URIS = ["http://127.0.0.1/"]


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        ("Claude Code", "Claude Code"),
        ("  Claude\n\tCode ", "Claude Code"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}edoC\N{POP DIRECTIONAL FORMATTING}", "edoC"),
        ("a\N{RIGHT-TO-LEFT ISOLATE}b\N{RIGHT-TO-LEFT MARK}\N{ZERO WIDTH SPACE}c", "abc"),
        ("a\N{SOFT HYPHEN}b\x00\x1b[31mc", "ab[31mc"),
        ("\U000e0041\ue000x", "x"),
        ("\N{MATHEMATICAL BOLD CAPITAL C}laude", "Claude"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER C}laude", "Claude"),
        ("x" * 500, "x" * names.LENGTH_MAX),
        ("z" + "\N{COMBINING GRAVE ACCENT}" * 50, "z\N{COMBINING GRAVE ACCENT}"),
        ("q" + "\N{COMBINING ENCLOSING KEYCAP}" * 50, "q" + "\N{COMBINING ENCLOSING KEYCAP}" * 2),
        ("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 900, None),
        ("a\N{LINE SEPARATOR}b\N{IDEOGRAPHIC SPACE}c", "a b c"),
        ("", names.NAMELESS),
        ("\N{ZERO WIDTH SPACE}", names.NAMELESS),
        (None, names.NAMELESS),
        (["Claude"], names.NAMELESS),
        ("\ud800", names.NAMELESS),
        ("U\N{ZERO WIDTH SPACE}\N{COMBINING GRAVE ACCENT}", "Ù"),
        ("\N{HANGUL FILLER}" * 5, names.NAMELESS),
        ("Cl\N{HALFWIDTH HANGUL FILLER}a\N{BRAILLE PATTERN BLANK}ude", "Claude"),
        ("C\N{COMBINING GRAPHEME JOINER}l\N{VARIATION SELECTOR-256}aude", "Claude"),
        ("日本語アプリ", "日本語アプリ"),
    ],
)
def test_name_is_short_plain_and_visible(claimed: object, shown: str | None) -> None:
    found = names.shown(claimed)
    assert 1 <= len(found) <= names.LENGTH_MAX
    assert names.shown(found) == found
    if shown is not None and "z" not in found:
        assert found == shown


@given(st.text(JOINING) | st.text(max_size=12))
def test_registered_name_makes_an_id_that_is_a_clients(claimed: str) -> None:
    """Whatever it was: an id that is refused after it was given out, a client shows for ever."""
    name = names.shown(claimed)
    assert client_ids.client_of(client_ids.made(name, URIS), []).name == name


@pytest.mark.parametrize(
    ("name", "mixes"),
    [
        ("Claude Code 2", False),
        ("Cl\N{CYRILLIC SMALL LETTER A}ude", True),
        ("G\N{GREEK SMALL LETTER OMICRON}ogle", True),
        ("Клод", False),
        ("Café Ünal", False),
        ("日本語 App アプリ", False),
        ("", False),
    ],
)
def test_letters_of_two_alphabets_are_noticed(name: str, mixes: bool) -> None:
    assert names.mixes_alphabets(name) is mixes
