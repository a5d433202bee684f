"""The supported pairs of Python and Django: `nox`, or `nox -s "tests(3.12, 5.2)" -- tests/oauth`.

An interpreter that is not here is skipped, and nox says so.
"""

import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

PINNED = Path("requirements/dev.txt")
# https://docs.djangoproject.com/en/6.1/faq/install/#what-python-version-can-i-use-with-django
PYTHONS = {
    "5.2": ("3.11", "3.12", "3.13", "3.14"),
    "6.0": ("3.12", "3.13", "3.14"),
    "6.1": ("3.12", "3.13", "3.14"),
}
PAIRS = [(python, django) for django, pythons in PYTHONS.items() for python in pythons]
DJANGO = re.compile(r"^django==(\d+\.\d+)\S*(?: ; .*)? \\\n(?:    --hash=.*\n)+", re.MULTILINE)
FAST = ("tests/sessions_kms", "tests/oauth", "-m", "not stack and not browser")


@nox.session
@nox.parametrize(("python", "django"), PAIRS, ids=[f"{each[0]}, {each[1]}" for each in PAIRS])
def tests(session: nox.Session, django: str) -> None:
    """Test one pair, all of it pinned by hash but a Django that dev.txt has not."""
    others = Path(session.create_tmp()) / "requirements.txt"
    others.write_text(DJANGO.sub("", PINNED.read_text()))
    session.install("--require-hashes", "--no-deps", "-r", str(others.resolve()))
    session.install("--no-deps", *_django(session, django))
    session.run("python", "-m", "pip", "check")
    session.run("python", "-m", "pytest", "--workers", "auto", *(session.posargs or FAST))


def _django(session: nox.Session, series: str) -> list[str]:
    """Return how to install a series of Django: as it is pinned where it is, else its newest."""
    for pinned in DJANGO.finditer(PINNED.read_text()):
        if pinned[1] == series:
            only = Path(session.create_tmp()) / "django.txt"
            only.write_text(re.sub(" ; .*\\\\", " \\\\", pinned[0]))
            return ["--require-hashes", "-r", str(only.resolve())]
    return [f"django~={series}.0"]
