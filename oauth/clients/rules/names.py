"""What a client calls itself, made fit to be shown: a claim, which anybody may make.

A name cannot be kept from resembling another. So it is short, plain text that cannot reorder or
overflow what stands around it; the page shows the host beside it, in letters of ASCII alone.
"""

from __future__ import annotations

import re
import unicodedata

LENGTH_MAX = 60  # characters
READ_MAX = 1000  # of what was sent
MARKS_MAX = 2  # combining marks in a row: more would grow over the lines above
# Cc, Cf, Cs, Co, Cn, Zl, Zp: controls, orders to reverse the text, and nothing that shows.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that show nothing either: Default_Ignorable_Code_Point of Unicode's
# DerivedCoreProperties.txt, as far as it is none of those, and the blank of Braille.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
NAMELESS = "An app without a name"


def shown(claimed: object) -> str:
    """Return a claimed name as it may be shown; a name of ours where none is left of it.

    Letters of other forms that mean the same become plain ones (NFKC).
    """
    text = claimed[:READ_MAX] if isinstance(claimed, str) else ""
    visible = "".join(filter(_is_seen, unicodedata.normalize("NFKC", text)))
    # Once more: what stood apart by something unseen may be one letter now.
    folded = unicodedata.normalize("NFKC", visible)
    name = _with_few_marks(" ".join(folded.split()))
    return name[:LENGTH_MAX].strip() or NAMELESS


def mixes_alphabets(name: str) -> bool:
    """Tell whether letters of several alphabets make a name, as in one made to look like another.

    Unicode Technical Standard 39 section 5.1, by the first words of the letters' names.
    """
    found = {unicodedata.name(each, "?").split()[0] for each in name if each.isalpha()}
    # Japanese and Korean have several, and Latin letters among them.
    return len(found) > 1 and bool(found & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def _is_seen(letter: str) -> bool:
    if letter.isspace():
        return True
    return unicodedata.category(letter) not in UNSEEN and not BLANK.match(letter)


def _with_few_marks(text: str) -> str:
    kept, marks = [], 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter).startswith("M") else 0
        if marks <= MARKS_MAX:
            kept.append(letter)
    return "".join(kept)
