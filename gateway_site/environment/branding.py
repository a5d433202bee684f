"""What an operator's gateway is called and shows in its header: `SITE_NAME` and `SITE_LOGO`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

NAME = "Gateway"
NAME_LENGTH = 40
SIZE_MAX = 1024 * 1024  # bytes of a logo
KINDS = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class Logo:
    """An image: at an address elsewhere, or the content of a file, to be served here."""

    url: str = ""
    kind: str = ""
    content: bytes = field(default=b"", repr=False)

    @property
    def origins(self) -> list[str]:
        """The origins that a page must be allowed to load it from, besides its own."""
        parts = urlsplit(self.url)
        return [f"{parts.scheme}://{parts.netloc}"] if self.url else []


def site_name(text: str) -> str:
    """Return what the pages call the site."""
    if len(text) > NAME_LENGTH or not text.isprintable():
        raise ImproperlyConfigured(f"SITE_NAME must be one line of at most {NAME_LENGTH} letters.")
    return text or NAME


def logo(text: str) -> Logo | None:
    """Return the logo at an https address or in a file, which is read now; None for none."""
    if not text:
        return None
    if "://" in text:
        if not re.fullmatch(r"https://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~%/?&=+-]*", text):
            raise ImproperlyConfigured("SITE_LOGO must be an https:// address, or a file's path.")
        return Logo(url=text)
    return _from_file(Path(text))


def _from_file(path: Path) -> Logo:
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ImproperlyConfigured(f"SITE_LOGO must be a file that ends in {', '.join(KINDS)}.")
    try:
        if not path.is_file():
            raise ImproperlyConfigured("SITE_LOGO names no file that there is.")
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise ImproperlyConfigured(f"SITE_LOGO cannot be read: {error.strerror}.") from None
    if not content or len(content) > SIZE_MAX:
        raise ImproperlyConfigured(f"SITE_LOGO must have 1 to {SIZE_MAX:,} bytes.")
    return Logo(kind=kind, content=content)
