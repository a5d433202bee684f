"""Prepares the names that clients claim for display.

Names can imitate others, which cannot be prevented. Therefore they are short plain text that cannot
reorder or overflow the surrounding text, and the page shows the host beside them in ASCII.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

from oauth.clients.rules import lookalikes
from oauth.clients.rules.errors import translatable
from oauth.sign_in import plain_text

LENGTH_MAX = 60  # characters
# With which scripts Latin may stand: UTS 39, section 5.2, "Highly Restrictive".
COMBINED_SCRIPTS = tuple(
    frozenset(each.split()) for each in ("Latn Hani Hira Kana", "Latn Hani Bopo", "Latn Hani Hang")
)
UNNAMED = "An app without a name"
UNACCEPTABLE = "must have a letter and no quotation marks."


def clean_name(claimed: object) -> str:
    """Return a claimed name for display, or a placeholder if nothing of it remains.

    Compatibility forms of letters become plain ones (NFKC).
    """
    name = plain_text.to_one_line(claimed) if isinstance(claimed, str) else ""
    return name[:LENGTH_MAX].strip() or UNNAMED


def is_acceptable(name: str) -> bool:
    """Return whether a name as shown has a visible letter and cannot close its own quotation marks.

    Pages put it between “ and ”. Whatever looks like a double quotation mark, or like two single
    ones in a row (UTS 39), would let a name continue outside of them: `Foo”, verified by “Bar`.
    """
    plain = name.translate(_quotation_marks())
    return "''" not in plain and any(each.isalpha() for each in name)


def name_warning(name: str) -> str:
    """Return a sentence for the person who reads a name that may imitate another; "" for others.

    Such names are not rejected: people and companies may well have them.
    """
    if mixes_scripts(name):
        return translatable(
            "This name mixes letters of different alphabets. Names that imitate others often do."
        )
    if looks_like_ascii(name):
        return translatable(
            "This name has letters of another alphabet that look like Latin ones. It may imitate "
            "another name."
        )
    return ""


def mixes_scripts(name: str) -> bool:
    """Return whether no one script has all letters of a name, as if made to look like another.

    Unicode Technical Standard 39, sections 5.1 and 5.2: characters that all scripts use do not
    count, and Latin letters may stand with Japanese, with Korean or with Chinese.
    """
    used = [scripts for each in name if (scripts := _scripts_of(each))]
    if not used:
        return False
    together = frozenset.intersection(*used)
    return not together and not any(
        all(each & allowed for each in used) for allowed in COMBINED_SCRIPTS
    )


def looks_like_ascii(name: str) -> bool:
    """Return whether a name that is not ASCII looks like one that is.

    Its skeleton is ASCII (Unicode Technical Standard 39, section 4). Typographic punctuation alone,
    such as a curly apostrophe, does not count: only letters and digits make another name of it.
    """
    letters, punctuation = _like_ascii()
    others = {each for each in unicodedata.normalize("NFD", name) if not each.isascii()}
    return bool(others & letters) and others <= letters | punctuation


def _scripts_of(letter: str) -> frozenset[str]:
    """Return the scripts that a character is used with; none where all scripts use it."""
    ranges = _ranges()
    point = ord(letter)
    found = bisect_right(ranges, point, key=_first) - 1
    if found < 0 or point > ranges[found].last:
        return frozenset()
    return ranges[found].scripts


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    last: int
    scripts: frozenset[str]


_first = attrgetter("first")


@cache
def _ranges() -> Sequence[_Range]:
    rows = [row.replace("\n", " ").split(",") for row in lookalikes.SCRIPTS.split(";")]
    return [
        _Range(int(first, 36), int(last, 36), frozenset(scripts.split()))
        for first, last, scripts in rows
    ]


@cache
def _like_ascii() -> tuple[frozenset[str], frozenset[str]]:
    """Return the characters that look like ASCII letters and digits, and like punctuation."""
    letters, punctuation = lookalikes.LIKE_ASCII_LETTERS, lookalikes.LIKE_ASCII_PUNCTUATION
    return frozenset(_characters(letters)), frozenset(_characters(punctuation))


@cache
def _quotation_marks() -> Mapping[int, str]:
    """Return what makes apostrophes of everything that looks like one or like two."""
    ones = "`" + _characters(lookalikes.LIKE_APOSTROPHE)
    twos = '"' + _characters(lookalikes.LIKE_TWO_APOSTROPHES)
    both = dict.fromkeys(ones, "'") | dict.fromkeys(twos, "''")
    return {ord(each): plain for each, plain in both.items() if not _is_of_an_alphabet(each)}


def _is_of_an_alphabet(letter: str) -> bool:
    """Return whether words of an alphabet without case have this letter: they may have it twice.

    To UTS 39 a Hebrew yod looks like an apostrophe. Among letters of another alphabet it is marked.
    """
    return unicodedata.category(letter) == "Lo"


def _characters(points: str) -> str:
    return "".join(chr(int(each, 36)) for each in points.split())
