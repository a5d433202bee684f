"""The operator's name and logo of the site: `SITE_NAME` and `SITE_LOGO`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway_site.environment.variable import InvalidValue, read_file

DEFAULT_NAME = "Gateway"
NAME_LENGTH = 40
SIZE_MAX = 1024 * 1024  # bytes of a logo
CONTENT_TYPES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class Logo:
    """An image: a URL, or the content of a file that the gateway serves."""

    url: str = ""
    kind: str = ""
    content: bytes = field(default=b"", repr=False)

    @property
    def origins(self) -> list[str]:
        """The origins other than its own from which a page must be allowed to load it."""
        parts = urlsplit(self.url)
        return [f"{parts.scheme}://{parts.netloc}"] if self.url else []


def parse_site_name(text: str) -> str:
    """Return the site's name."""
    if len(text) > NAME_LENGTH or not text.isprintable():
        raise InvalidValue(f"must be one line of at most {NAME_LENGTH} letters.")
    return text


def load_logo(text: str) -> Logo:
    """Return the logo at an https URL, or read it from a file."""
    if "://" in text:
        if not re.fullmatch(r"https://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~%/?&=+-]*", text):
            raise InvalidValue("must be an https:// address, or a file's path.")
        return Logo(url=text)
    return _load_file(Path(text))


def _load_file(path: Path) -> Logo:
    kind = CONTENT_TYPES.get(path.suffix.lower())
    if kind is None:
        raise InvalidValue(f"must be a file that ends in {', '.join(CONTENT_TYPES)}.")
    try:
        content = read_file(path, SIZE_MAX)
    except ValueError as error:
        raise InvalidValue(f": {error}") from None
    if not content:
        raise InvalidValue(": the file is empty.")
    return Logo(kind=kind, content=content)
