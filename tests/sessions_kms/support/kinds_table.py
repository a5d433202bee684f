"""The item types in docs/format.md: ``python -m tests.sessions_kms.support.kinds_table``."""

from sessions_kms.format.item_types import ITEM_TYPES, SESSION, Attributes, ItemType
from tests import ROOT

PAGE = ROOT / "docs" / "format.md"
BEGIN = "<!-- the table of item types: begin -->\n"
END = "<!-- the table of item types: end -->\n"
EVERY = {"id", "version"}
# What sealing adds to a lease or a token, which have the others of these in any case.
SEALED_ONLY = {
    name: of for name, of in SESSION.attributes.items() if name not in {"id", "version", "ttl"}
}
COLUMNS = ("type", "`id`", "attributes", "otherwise")


def form(kind: ItemType) -> str:
    """Return what the ids of a kind look like."""
    if not kind.word:
        return kind.names
    return "#".join((kind.word, "<NAMESPACE>", *kind.fixed)) + kind.names


def table() -> str:
    """Return the table in Markdown."""
    rows = [_row(kind) for kind in ITEM_TYPES]
    return "".join(f"| {' | '.join(row)} |\n" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows))


def write_table() -> str:
    """Return the table that the page has."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def _row(kind: ItemType) -> list[str]:
    owner = f"; its `owner` is `{kind.owner}`" if kind.owner else ""
    return [
        kind.name + _versions(kind),
        f"`{form(kind)}`{owner}",
        _attributes(kind),
        kind.unknown,
    ]


def _versions(kind: ItemType) -> str:
    """Return the versions of a type, unless it is read and written as 1 only."""
    if kind.readable == {1} and kind.written == 1:
        return ""
    return f" (reads {kind.versions}, writes {kind.written})"


def _attributes(kind: ItemType) -> str:
    needed = _name_attributes(kind.attributes)
    more = _name_attributes(
        {name: of for name, of in kind.optional.items() if name not in kind.attributes}
    )
    return f"{needed}; may have {more}" if more else needed


def _name_attributes(attributes: Attributes) -> str:
    """Return attributes with their types, the required ones of a session as one word."""
    names = dict(attributes)
    sealed = SESSION.attributes.items() <= names.items() or SEALED_ONLY.items() <= names.items()
    if sealed:
        names = {name: of for name, of in names.items() if name not in SESSION.attributes}
    return ", ".join(
        (["*sealed*"] if sealed else [])
        + [f"`{name}` {of}" for name, of in names.items() if name not in EVERY]
    )


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
