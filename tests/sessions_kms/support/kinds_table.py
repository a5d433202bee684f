"""The table of kinds in docs/format.md: ``python -m tests.sessions_kms.support.kinds_table``."""

from sessions_kms.format.item_types import ITEM_TYPES, SESSION, Attributes, ItemType
from tests import ROOT

PAGE = ROOT / "docs" / "format.md"
BEGIN = "<!-- the table of kinds: begin -->\n"
END = "<!-- the table of kinds: end -->\n"
COLUMNS = ("kind", "`id`", "`owner`", "attributes", "read", "written", "another version", "who")


def form(kind: ItemType) -> str:
    """Return what the ids of a kind look like."""
    if not kind.word:
        return kind.names
    return "#".join((kind.word, "<NAMESPACE>", *kind.fixed)) + kind.names


def table() -> str:
    """Return the table in Markdown."""
    rows = [_row(kind) for kind in ITEM_TYPES]
    return "".join(f"| {' | '.join(row)} |\n" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows))


def written() -> str:
    """Return the table that the page has."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def _row(kind: ItemType) -> list[str]:
    return [
        kind.name,
        f"`{form(kind)}`",
        f"`{kind.owner}`" if kind.owner else "",
        _attributes(kind),
        ", ".join(map(str, sorted(kind.readable))),
        str(kind.written),
        kind.unknown,
        ", ".join(_who(kind)) or "nobody",
    ]


def _attributes(kind: ItemType) -> str:
    needed = _named({name: kind.attributes[name] for name in kind.attributes})
    more = _named({name: of for name, of in kind.optional.items() if name not in kind.attributes})
    return f"{needed}; may have {more}" if more else needed


def _named(attributes: Attributes) -> str:
    return ", ".join(f"`{name}` {of}" for name, of in attributes.items())


def _who(kind: ItemType) -> list[str]:
    return [
        name
        for name, is_done in (
            ("`rewrap_sessions`", kind.is_rewrapped),
            ("lists", kind.is_listed),
            ("`end_sessions`", kind is SESSION or kind.ends_with_sessions),
            ("`clearsessions`", kind.is_cleared),
        )
        if is_done
    ]


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
