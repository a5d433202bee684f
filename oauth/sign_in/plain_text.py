"""Makes text that a stranger wrote safe to show within a page's own text.

It can still say anything: the page has to say whose text it is.
"""

import re
import unicodedata

INPUT_MAX = 1000  # of what was sent
MARKS_MAX = 2  # combining marks in a row: more would grow over the lines above
# Cc, Cf, Cs, Co, Cn, Zl, Zp: controls, bidirectional overrides, and invisible characters.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that show nothing either: Default_Ignorable_Code_Point of Unicode's
# DerivedCoreProperties.txt, as far as it is none of those, and the blank of Braille.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def to_one_line(claimed: str) -> str:
    """Return one line that cannot reorder or overflow the text around it; "" if nothing is visible.

    Compatibility forms of letters become plain ones (NFKC). The caller limits the length.
    """
    visible = "".join(filter(_is_visible, unicodedata.normalize("NFKC", claimed[:INPUT_MAX])))
    # Once more: characters that were separated by an invisible one may compose now.
    folded = unicodedata.normalize("NFKC", visible)
    return _limit_marks(" ".join(folded.split()))


def _is_visible(letter: str) -> bool:
    if letter.isspace():
        return True
    return unicodedata.category(letter) not in INVISIBLE and not BLANK.match(letter)


def _limit_marks(text: str) -> str:
    kept, marks = [], 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter).startswith("M") else 0
        if marks <= MARKS_MAX:
            kept.append(letter)
    return "".join(kept)
