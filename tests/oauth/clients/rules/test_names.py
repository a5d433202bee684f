"""A client's name can neither hide, reverse nor overflow the surrounding text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth.clients.rules import lookalikes, names, registration
from oauth.clients.rules.client import read_client_list, read_document
from oauth.clients.rules.errors import RequestRejected, UnknownClient
from tests.support.cases import each_case

# Texts that become another letter, or another order of marks, without what is in between.
JOINING = "Ua そ\N{ZERO WIDTH SPACE}\N{ZERO WIDTH JOINER}\N{HANGUL FILLER}\N{NO-BREAK SPACE}" + (
    "\N{COMBINING GRAVE ACCENT}\N{COMBINING GRAVE ACCENT BELOW}\N{COMBINING LONG SOLIDUS OVERLAY}"
    "\N{COMBINING KATAKANA-HIRAGANA VOICED SOUND MARK}\N{ACUTE ACCENT}"
    "\N{HANGUL CHOSEONG KIYEOK}\N{HANGUL JUNGSEONG A}\N{HANGUL JONGSEONG KIYEOK}"
)
URIS = ["http://127.0.0.1/"]


@each_case(
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
        ("", names.UNNAMED),
        ("\N{ZERO WIDTH SPACE}", names.UNNAMED),
        (None, names.UNNAMED),
        (["Claude"], names.UNNAMED),
        ("\ud800", names.UNNAMED),
        ("U\N{ZERO WIDTH SPACE}\N{COMBINING GRAVE ACCENT}", "Ù"),
        ("\N{HANGUL FILLER}" * 5, names.UNNAMED),
        ("Cl\N{HALFWIDTH HANGUL FILLER}a\N{BRAILLE PATTERN BLANK}ude", "Claude"),
        ("C\N{COMBINING GRAPHEME JOINER}l\N{VARIATION SELECTOR-256}aude", "Claude"),
        ("日本語アプリ", "日本語アプリ"),
    ],
)
def test_name_is_short_plain_and_visible(claimed: object, shown: str | None) -> None:
    found = names.clean_name(claimed)
    assert 1 <= len(found) <= names.LENGTH_MAX
    assert names.clean_name(found) == found
    if shown is not None and "z" not in found:
        assert found == shown


@given(st.text(JOINING) | st.text(max_size=12))
def test_registered_name_makes_an_id_that_is_a_clients(claimed: str) -> None:
    """Whatever it was: an id that is rejected after it was given out, a client keeps showing."""
    try:
        response = registration.register_client({"client_name": claimed, "redirect_uris": URIS}, [])
    except RequestRejected:
        assert not names.is_acceptable(names.clean_name(claimed))
        return
    assert registration.decode_client_id(response["client_id"], []).name == response["client_name"]


@each_case(
    "name",
    [
        'Notes" (verified), "x',
        "Notes\N{RIGHT DOUBLE QUOTATION MARK}, verified by \N{LEFT DOUBLE QUOTATION MARK}Corp",
        "Notes\N{DOUBLE PRIME}x",
        "Notes\N{MODIFIER LETTER DOUBLE PRIME}x",
        "Notes\N{HEBREW PUNCTUATION GERSHAYIM}x",
        "Notes''x",
        "Notes\N{RIGHT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}x",
        "Notes``x",
        "Notes`'x",
        "42",
        "\N{BULLET}\N{BULLET}\N{BULLET}",
        "\N{ROCKET}",
    ],
)
def test_name_that_leaves_its_quotation_marks_or_has_no_letter_is_rejected(name: str) -> None:
    shown = names.clean_name(name)
    assert not names.is_acceptable(shown)
    with pytest.raises(RequestRejected):
        registration.register_client({"client_name": name, "redirect_uris": URIS}, [])
    with pytest.raises(UnknownClient):
        registration.decode_client_id(registration.make_client_id(shown, URIS), [])
    address = "https://app.example.com/client"
    members = {"client_id": address, "client_name": name, "redirect_uris": URIS}
    with pytest.raises(UnknownClient):
        read_document(address, members, [])
    with pytest.raises(ValueError, match="client_name must have a letter"):
        read_client_list([members], [])


@pytest.mark.parametrize("name", ["Bob's app", "Bob\N{RIGHT SINGLE QUOTATION MARK}s", "1Password"])
def test_name_with_an_apostrophe_or_a_digit_is_accepted(name: str) -> None:
    assert names.is_acceptable(name)


@pytest.mark.parametrize("letter", ["\N{HEBREW LETTER YOD}", "\N{CANADIAN SYLLABICS WEST-CREE P}"])
def test_apostrophe_like_letter_may_be_doubled_in_words_of_its_alphabet(
    letter: str,
) -> None:
    """Many Hebrew words have two yods, "application" among them."""
    assert names.is_acceptable(names.clean_name(f"{letter}{letter}"))
    assert names.name_warning(f"Notes{letter}{letter} verified")


# Written with names of characters, so that a reader sees which alphabet a letter is of.
A_CYRILLIC, O_CYRILLIC, ES_CYRILLIC = "\u0430", "\u043e", "\u0441"


@each_case(
    ("name", "mixes", "looks_like_ascii"),
    [
        ("Claude Code 2", False, False),
        (f"Cl{A_CYRILLIC}ude", True, True),
        ("G\N{GREEK SMALL LETTER OMICRON}ogle", True, True),
        (ES_CYRILLIC + O_CYRILLIC + ES_CYRILLIC + O_CYRILLIC, False, True),
        ("Клод", False, False),
        ("Café Ünal", False, False),
        ("日本語 App アプリ", False, False),
        ("한국어 App 漢字", False, False),
        ("中文 ㄅㄆ App", False, False),
        ("アプリ 한국어", True, False),
        ("ไทย App", True, False),
        ("Клод и \N{GREEK CAPITAL LETTER OMEGA}mega", True, False),
        ("Bob\N{RIGHT SINGLE QUOTATION MARK}s \N{EN DASH} app", False, False),
        ("", False, False),
    ],
)
def test_name_that_may_imitate_another_is_marked(
    name: str, mixes: bool, looks_like_ascii: bool
) -> None:
    assert names.mixes_scripts(name) is mixes
    assert names.looks_like_ascii(name) is looks_like_ascii
    assert bool(names.name_warning(name)) is (mixes or looks_like_ascii)
    assert names.is_acceptable(name) is bool(name)


def test_table_of_lookalikes_names_its_version_and_is_not_newer_than_the_scripts_it_sorts() -> None:
    assert lookalikes.UNICODE_VERSION == "15.1.0"
    latin = [each for each in map(chr, range(0x250)) if each.isalpha()]
    assert not [each for each in latin if names.mixes_scripts("a" + each) and each not in "ªº"]
