"""How `make docs` builds the site, in build/docs. The order of the pages is in _toc.yml."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
project = "django-sessions-kms"
author = copyright = "The django-sessions-kms contributors"  # noqa: A001  # Sphinx's name
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_external_toc",
    "sphinx_llm.txt",  # llms.txt, and a Markdown version beside each page
]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Encrypted Django sessions and an OAuth gateway"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_js_files = ["docs.js"]
copybutton_prompt_text = r"\$ |> "  # a block with prompts is copied without them and without output
copybutton_prompt_is_regexp = True

FILE_NAME = re.compile(r"(?:[\w-]+/)*[\w-]+\.md")
VARIABLES = "The gateway\u2019s variables"  # a heading of settings.md
VARIABLE = re.compile(r"([A-Z][A-Z0-9_<>]+)(?:=.*)?", re.DOTALL)


def add_dark_pictures(app: Any, doctree: Any) -> None:
    """Show `name-dark.png` in place of `name.png` in the dark scheme, by furo's classes."""
    if app.builder.format != "html":
        return
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for image in list(doctree.findall(lambda node: node.tagname == "image")):
        path = Path(image["uri"])
        dark = path.with_name(f"{path.stem}-dark{path.suffix}")
        if (folder / dark).is_file():
            image["classes"].append("only-light")
            other = image.deepcopy()
            other["uri"], other["classes"] = str(dark), ["only-dark"]
            image.parent.insert(image.parent.index(image) + 1, other)


def mark_drawings(app: Any, doctree: Any) -> None:
    """Give the paragraph of a drawing the class by which docs.css lets it scroll."""
    for image in doctree.findall(lambda node: node.tagname == "image"):
        if image["uri"].endswith(".svg"):
            image.parent["classes"].append("drawing")


def name_pages_by_title(app: Any, doctree: Any) -> None:
    """Show a page's title where a link's text is the name of its file."""
    for link in doctree.findall(lambda node: node.tagname == "pending_xref"):
        if FILE_NAME.fullmatch(link.astext()):
            link["refexplicit"] = False
            link.clear()


def index_names(app: Any, doctree: Any) -> None:
    """Let the search list where a variable, a setting or a command is described before all else."""
    if app.env.docname == "settings":
        variables: set[Any] = set()
        for section in doctree.findall(lambda node: node.tagname == "section"):
            if section[0].astext() == VARIABLES:
                variables = set(section.findall())
        for entry in doctree.findall(lambda node: node.tagname in {"list_item", "row"}):
            literal = first_literal(entry)
            if literal and (match := VARIABLE.fullmatch(literal)):
                add_object(app, "envvar" if entry in variables else "setting", match[1], entry)
    if app.env.docname == "commands":
        sections = doctree.findall(lambda node: node.tagname == "section")
        rows = doctree.findall(lambda node: node.tagname == "row")
        named = [(section[0].astext(), section) for section in sections]
        named += [(row[0].astext(), row) for row in rows]  # a command without a section
        for name, node in named:
            if first_literal(node) == name:
                add_object(app, "command", name, node)


def first_literal(node: Any) -> str | None:
    """Return the code with which the text of a node begins."""
    for child in node.findall():
        if child.tagname == "literal":
            return str(child.astext())
        if child.tagname == "#text":
            return None
    return None


def add_object(app: Any, kind: str, name: str, node: Any) -> None:
    name = name.replace("<NAME>", "*")
    domain = app.env.domains.standard_domain
    if (kind, name) in domain.objects:
        return
    if not node["ids"]:
        node["ids"].append(f"{kind}-{name}".lower().replace("_", "-").replace("*", "name"))
    domain.note_object(kind, name, node["ids"][0], location=node)


def setup(app: Any) -> None:
    app.add_object_type("setting", "setting", objname="setting")
    app.add_object_type("command", "command", objname="command")
    app.connect("doctree-read", add_dark_pictures, priority=400)  # before images are collected
    app.connect("doctree-read", mark_drawings)
    app.connect("doctree-read", name_pages_by_title)
    app.connect("doctree-read", index_names)
