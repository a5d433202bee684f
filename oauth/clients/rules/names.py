"""What a client calls itself, made fit to be shown: a claim, which anybody may make.

A name cannot be kept from resembling another. So it is short, plain text that cannot reorder or
overflow what stands around it; the page shows the host beside it, in letters of ASCII alone.
"""

from __future__ import annotations

import unicodedata

LENGTH_MAX = 60  # characters
READ_MAX = 1000  # of what was sent
MARKS_MAX = 2  # combining marks in a row: more would grow over the lines above
# Cc, Cf, Cs, Co, Cn, Zl, Zp: controls, orders to reverse the text, and nothing that shows.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
NAMELESS = "An app without a name"


def shown(claimed: object) -> str:
    """Return a claimed name as it may be shown; a name of ours where none is left of it.

    Letters of other forms that mean the same become plain ones (NFKC).
    """
    text = claimed[:READ_MAX] if isinstance(claimed, str) else ""
    folded = unicodedata.normalize("NFKC", text)
    visible = "".join(" " if each.isspace() else each for each in folded if _is_seen(each))
    name = _with_few_marks(" ".join(visible.split()))
    return name[:LENGTH_MAX].strip() or NAMELESS


def mixes_alphabets(name: str) -> bool:
    """Tell whether letters of several alphabets make a name, as in one made to look like another.

    Unicode Technical Standard 39 section 5.1, by the first words of the letters' names.
    """
    found = {unicodedata.name(each, "?").split()[0] for each in name if each.isalpha()}
    # Japanese and Korean have several, and Latin letters among them.
    return len(found) > 1 and bool(found & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def _is_seen(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) not in UNSEEN


def _with_few_marks(text: str) -> str:
    kept, marks = [], 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter).startswith("M") else 0
        if marks <= MARKS_MAX:
            kept.append(letter)
    return "".join(kept)
