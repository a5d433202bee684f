"""The tokens that clients hold: opaque texts, told apart by how they begin. Pure but for chance.

The whole text is the secret, so one kind is never taken for another. Who shows a malformed one
is told so without a call.
"""

import re
import secrets
import string
from typing import Final

CODE: Final = "gwc_"
ACCESS: Final = "gwa_"
REFRESH: Final = "gwr_"

ALPHABET: Final = string.ascii_lowercase + string.digits
LENGTH: Final = 32  # letters after the beginning: 165 random bits
_TOKEN: Final = re.compile(r"gw[car]_[a-z0-9]{32}")


def new(kind: str) -> str:
    """Return a token that nobody can guess."""
    return kind + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_token(text: str, kind: str = "") -> bool:
    """Tell whether this may be a token, of one kind where told."""
    __traceback_hide__ = True
    return text.startswith(kind) and _TOKEN.fullmatch(text) is not None
