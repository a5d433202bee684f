"""The parsed structure of a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = frozenset({"img", "input", "link", "meta", "br", "hr", "wbr"})


@dataclass
class Element:
    """One element, with its text and what it contains."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    own_text: list[str] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.walk() if element.tag == tag]

    def walk(self) -> Iterator[Element]:
        for child in self.children:
            yield child
            yield from child.walk()

    @property
    def text(self) -> str:
        own = [*self.own_text, *(child.text for child in self.children)]
        return " ".join(" ".join(own).split())


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:  # Django's admin has such end tags since 6.1; browsers ignore them
            return
        closed = self.open.pop()
        assert closed.tag == tag, f"</{tag}> closes <{closed.tag}>"

    def handle_data(self, data: str) -> None:
        self.open[-1].own_text.append(data)


def parse(html: str) -> Element:
    """Parse a page; an element that is not closed properly is an error."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.open == [parser.root], "an element is not closed"
    return parser.root


def assert_accessible(html: str, language: str = "en") -> Element:
    """Assert the requirements of keyboards, screen readers and a strict policy."""
    page = parse(html)
    (root,) = page.all("html")
    assert root.attributes["lang"] == language
    (title,) = page.all("title")
    assert title.text.endswith("\N{EN DASH} Gateway")
    assert len(title.text) > len("x - Gateway")
    (_main,) = page.all("main")
    for landmark in ("header", "footer"):
        assert page.all(landmark)
    _assert_headings(page)
    _assert_labels(page)
    _assert_no_foreign_assets(page)
    (skip,) = [link for link in page.all("a") if link.attributes["href"] == "#main"]
    assert page.all("a")[0] is skip
    ids = [element.attributes["id"] for element in page.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    return page


def _assert_headings(page: Element) -> None:
    levels = [int(e.tag[1]) for e in page.walk() if e.tag in {"h1", "h2", "h3", "h4"}]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def _assert_labels(page: Element) -> None:
    labelled = {label.attributes.get("for") for label in page.all("label")}
    for field_ in page.all("input"):
        if field_.attributes.get("type") != "hidden":
            assert field_.attributes["id"] in labelled
    for image in page.all("img"):
        assert "alt" in image.attributes
    for button in page.all("button"):
        assert button.text
        # A button without a form only works with a script, and is hidden without it.
        names = button.attributes.keys()
        is_scripted = "data-stop" in names or {"data-copy", "hidden"} <= names
        assert button.attributes["type"] == ("button" if is_scripted else "submit")
    for navigation in page.all("nav"):
        assert navigation.attributes["aria-label"]


def _assert_no_foreign_assets(page: Element) -> None:
    scripts = {script.attributes["src"] for script in page.all("script")}
    assert scripts <= {"/static/gateway.js", "/static/oauth/click_delay.js"}
    assert not page.all("style")
    for element in page.walk():
        assert not [name for name in element.attributes if name.startswith("on")]
        assert "style" not in element.attributes
        if element.tag in {"img", "link"}:
            address = element.attributes.get("src") or element.attributes["href"]
            assert address.startswith("/static/")
