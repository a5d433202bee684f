"""How `make docs` builds the site, in build/docs. The order of the pages is in _toc.yml."""

import tomllib
from pathlib import Path

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
