"""The pages of the documentation, which a wheel contains (`packaging/gateway/`)."""

import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = PACKAGE / "docs"
CHECKOUT = PACKAGE.parent / "docs"
PATTERNS = ("*.md", "guides/*.md")  # the build hook has the same
HEADING = re.compile(r"(#+) (.+)")


def list_pages() -> dict[str, str]:
    """Return the title of each page by its name, such as "guides/rotate"."""
    return {
        name: next((heading for _, _, heading in _headings(path)), "")
        for name, path in _find_pages().items()
    }


def read_page(name: str) -> str:
    """Return a page in Markdown. Raises KeyError."""
    return _find_pages()[name].read_text(encoding="utf-8")


def list_sections(name: str) -> list[str]:
    """Return the anchors of a page's headings. Raises KeyError."""
    return [to_anchor(heading) for _, _, heading in _headings(_find_pages()[name])]


def read_section(name: str, anchor: str) -> str:
    """Return a section of a page, with those below it. Raises KeyError."""
    path, found = _find_pages()[name], list[tuple[int, int]]()
    lines = path.read_text(encoding="utf-8").splitlines()
    for at, level, heading in _headings(path):
        if found and level <= found[0][1]:
            return "\n".join([*lines[found[0][0] : at], ""])
        if not found and to_anchor(heading) == anchor:
            found.append((at, level))
    if not found:
        raise KeyError(anchor)
    return "\n".join([*lines[found[0][0] :], ""])


def to_anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and myst-parser name it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _find_pages() -> dict[str, Path]:
    is_checkout = (CHECKOUT.parent / "packaging").is_dir()  # otherwise `docs` is somebody else's
    folder = CHECKOUT if is_checkout else INSTALLED
    found = (path for pattern in PATTERNS for path in folder.glob(pattern))
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}
    return dict(sorted(names.items()))


def _headings(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the line, the level and the text of each heading outside of code."""
    is_code = False
    for at, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        is_code ^= line.lstrip().startswith("```")
        if not is_code and (match := HEADING.fullmatch(line)):
            yield at, len(match[1]), match[2]
