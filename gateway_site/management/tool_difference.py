"""What differs between pinned tools and those of a server, for a person at a terminal.

All texts are a stranger's. They are shown as JSON in ASCII, in which no character is invisible or
changes the direction of others.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff

from gateway_site.mcp.json_text import JSONObject
from gateway_site.policy.pinned_tools import NAME, compute_digest, format_indented

LINES_MAX = 1000  # of a tool that are compared one by one, which may take quadratic time
LINE_END = re.compile(r"(?<!\\)((?:\\\\)*\\n)")  # within a text
CONTINUED = " " * 8

Definitions = dict[str, JSONObject]  # of one name, by their digests


@dataclass(frozen=True)
class Difference:
    """Names of tools, sorted; `lines` show what differs."""

    new: list[str]
    gone: list[str]
    changed: list[str]
    same: list[str]
    lines: list[str]

    def __bool__(self) -> bool:
        """Return True if anything differs."""
        return bool(self.new or self.gone or self.changed)

    @property
    def summary(self) -> str:
        """The numbers of tools."""
        return (
            f"{len(self.new)} new, {len(self.gone)} gone, {len(self.changed)} changed,"
            f" {len(self.same)} as pinned."
        )


def compare(pinned: Iterable[JSONObject], listed: Iterable[JSONObject]) -> Difference:
    """Compare definitions, which are pinnable."""
    old, new = _group(pinned), _group(listed)
    both = sorted(old.keys() & new.keys())
    changed = [name for name in both if old[name].keys() != new[name].keys()]
    return Difference(
        new=sorted(new.keys() - old.keys()),
        gone=sorted(old.keys() - new.keys()),
        changed=changed,
        same=[name for name in both if name not in changed],
        lines=[
            line
            for name in sorted({*(old.keys() ^ new.keys()), *changed})
            for line in _show(name, old.get(name, {}), new.get(name, {}))
        ],
    )


def _group(definitions: Iterable[JSONObject]) -> dict[str, Definitions]:
    found: dict[str, Definitions] = {}
    for each in definitions:
        found.setdefault(each[NAME], {})[compute_digest(each)] = each
    return found


def _show(name: str, old: Definitions, new: Definitions) -> Iterator[str]:
    """Yield a unified difference."""
    before, after = _lines_of(old), _lines_of(new)
    if max(len(before), len(after)) > LINES_MAX:
        yield from (f"--- pinned {name}", f"+++ listed {name}")
        yield from ("-" + line for line in before)
        yield from ("+" + line for line in after)
        return
    yield from unified_diff(before, after, f"pinned {name}", f"listed {name}", lineterm="")


def _lines_of(definitions: Definitions) -> list[str]:
    text = "\n".join(format_indented(each) for _, each in sorted(definitions.items()))
    return LINE_END.sub(rf"\1\n{CONTINUED}", text).split("\n") if text else []
