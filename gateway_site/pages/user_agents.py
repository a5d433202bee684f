"""The family of a browser and of its system, as a `User-Agent` header tells them.

A row of a list says "Firefox on Windows", and no more is wanted: no version, no model, nothing
by which somebody could be told apart. A library that knows every device would be a thousand
patterns to be run over what a stranger sends; here are some plain words, looked for in order.

https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/Browser_detection_using_the_user_agent
"""

from __future__ import annotations

from typing import Final

LENGTH_MAX: Final = 512  # letters that are looked at

# Each names those after it, too: Edge says that it is Chrome, and Chrome that it is Safari.
BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),  # Brave and Chromium say no other name
    ("Safari/", "Safari"),
)
# Phones say that they are like a Mac, and Android that it is Linux.
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),  # iPads that ask for a desktop's pages say so, too
    ("Linux", "Linux"),
)


def browser_of(user_agent: str) -> str | None:
    """Return the family of a browser; None for one that is not known."""
    return _first(BROWSERS, user_agent)


def system_of(user_agent: str) -> str | None:
    """Return the family of a system; None for one that is not known."""
    return _first(SYSTEMS, user_agent)


def _first(known: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    looked_at = user_agent[:LENGTH_MAX]
    return next((family for word, family in known if word in looked_at), None)
