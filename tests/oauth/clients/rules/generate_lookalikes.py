"""Write `oauth/clients/rules/lookalikes.py` from Unicode's own files.

    python tests/oauth/clients/rules/generate_lookalikes.py FOLDER

FOLDER has `Scripts.txt`, `ScriptExtensions.txt` and `PropertyValueAliases.txt` of the Unicode
Character Database and `confusables.txt` of Unicode Technical Standard 39, all of one version. The
Python that runs this must know that version too (`unicodedata.unidata_version`).
"""

import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).parents[4] / "oauth" / "clients" / "rules" / "lookalikes.py"
ROW = re.compile(
    r"(?P<first>[0-9A-F]{4,6})(?:\.\.(?P<last>[0-9A-F]{4,6}))?\s*;\s*(?P<value>[^#;]+)"
)
APOSTROPHES = {"'": "apostrophes", "''": "quotes"}
ANY_SCRIPT = {"Zyyy", "Zinh", "Zzzz"}  # Common, Inherited, Unknown
HEAD = '''"""Which scripts a character is used with, and which characters look like ASCII.

Do not edit: tests/oauth/clients/rules/generate_lookalikes.py wrote it from Unicode {version},
https://www.unicode.org/Public/{version}/ucd/ (Scripts, ScriptExtensions) and
https://www.unicode.org/Public/security/{version}/ (confusables, of Technical Standard 39).
"""

UNICODE_VERSION = "{version}"

# First and last code point in base 36, then the ISO 15924 codes of the scripts. Characters that
# every script uses (Common and Inherited without extensions) are left out.
SCRIPTS = """
{scripts}
"""

# Characters outside ASCII, by code point in base 36, that look like ASCII letters or digits (one
# or more), and those that look like ASCII punctuation only.
LIKE_ASCII_LETTERS = """
{letters}
"""
LIKE_ASCII_PUNCTUATION = """
{punctuation}
"""

# Of these, what looks like one apostrophe, and what looks like two or like a double quotation mark.
LIKE_APOSTROPHE = """
{apostrophes}
"""
LIKE_TWO_APOSTROPHES = """
{quotes}
"""
'''


def rows(path: Path) -> Iterator[tuple[range, str]]:
    """Return the code points and the value of each row of a file of Unicode's."""
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if match := ROW.match(line):
            first = int(match["first"], 16)
            yield range(first, int(match["last"] or match["first"], 16) + 1), match["value"].strip()


def version_of(path: Path) -> str:
    """Return the version that a file names in its first lines."""
    head = path.read_text(encoding="utf-8-sig")[:600]
    match = re.search(r"(?:-|Version: )(\d+\.\d+\.\d+)", head)
    if match is None:
        raise SystemExit(f"{path}: no version found.")
    return match[1]


def scripts_of(folder: Path) -> dict[int, str]:
    """Return the scripts of each character that not all scripts use."""
    aliases = folder / "PropertyValueAliases.txt"
    lines = aliases.read_text(encoding="utf-8").splitlines()
    fields = [line.partition("#")[0].split(";") for line in lines if line.startswith("sc ;")]
    codes = {each[2].strip(): each[1].strip() for each in fields}
    found = {
        point: codes[name] for points, name in rows(folder / "Scripts.txt") for point in points
    }
    for points, names in rows(folder / "ScriptExtensions.txt"):
        found.update(dict.fromkeys(points, " ".join(sorted(names.split()))))
    return {point: names for point, names in found.items() if names not in ANY_SCRIPT}


def ranges_of(scripts: dict[int, str]) -> str:
    """Return rows of code points with the same scripts, across those that are not assigned."""
    found: list[tuple[int, int, str]] = []
    for point, names in sorted(scripts.items()):
        if found and found[-1][2] == names and _is_unassigned(found[-1][1] + 1, point):
            found[-1] = (found[-1][0], point, names)
        else:
            found.append((point, point, names))
    return ";".join(f"{base36(a)},{base36(b)},{names}" for a, b, names in found)


def like_ascii(folder: Path) -> dict[str, list[str]]:
    """Return the characters whose skeleton is ASCII, of those that NFKC leaves alone."""
    found: dict[str, list[str]] = {
        name: [] for name in ("letters", "punctuation", "apostrophes", "quotes")
    }
    for points, value in rows(folder / "confusables.txt"):
        target = "".join(chr(int(each, 16)) for each in value.split())
        source = chr(points[0])
        if source.isascii() or not target.isascii():
            continue
        if unicodedata.normalize("NFKC", source) != source:
            continue
        has_letter = any(each.isalnum() for each in target)
        found["letters" if has_letter else "punctuation"].append(base36(points[0]))
        if target in APOSTROPHES:
            found[APOSTROPHES[target]].append(base36(points[0]))
    return found


def base36(number: int) -> str:
    """Write a number in digits and small letters."""
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits or "0"


def main(folder: Path) -> None:
    """Write the table."""
    names = ("Scripts.txt", "ScriptExtensions.txt", "confusables.txt")
    versions = {unicodedata.unidata_version, *(version_of(folder / each) for each in names)}
    if len(versions) != 1:
        raise SystemExit(f"The files and this Python are of different versions: {versions}")
    like = {name: textwrap.fill(" ".join(found), 98) for name, found in like_ascii(folder).items()}
    TARGET.write_text(
        HEAD.format(
            version=versions.pop(),
            scripts=textwrap.fill(ranges_of(scripts_of(folder)).replace(";", "; "), 98),
            **like,
        ),
        encoding="utf-8",
    )


def _is_unassigned(first: int, end: int) -> bool:
    return all(unicodedata.category(chr(each)) == "Cn" for each in range(first, end))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
