"""How `make docs` builds the site, in build/docs. The order of the pages is in _toc.yml."""

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


def setup(app: Any) -> None:
    app.connect("doctree-read", add_dark_pictures, priority=400)  # before images are collected
