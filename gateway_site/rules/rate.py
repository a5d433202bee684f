"""Rates at which an upstream may be called, such as `60/m search_*=10/m`."""

import re
from dataclasses import dataclass

from gateway_site.environment.parsers import parse_words
from gateway_site.environment.variable import InvalidValue, list_parser

SECONDS = {"s": 1, "m": 60, "h": 3600}
RATE = re.compile(r"([1-9][0-9]{0,5})/([smh])")
# A tool or several; quotation marks would have to be escaped in headers.
TOOLS = re.compile(r"(?=.{1,128}=)([!#-)+-<>-\[\]-~]*\*?)=(.*)")
RATES_MAX = 20
FOLDED = 256  # characters of a tool's name: no rate is for a longer one, and none folds to nothing


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in so many seconds, all at once or spread. `tools` may end in `*`.

    Tools whose names differ in case only share a rate, since some servers ignore case.
    """

    count: int
    seconds: int
    tools: str | None = None

    def limits(self, tool: str | None) -> bool:
        """Return True if it is about a call of this tool, by `fold_tool`, or of none."""
        if self.tools is None:
            return True
        if tool is None:
            return False
        tools = self.tools.casefold()
        return tool.startswith(tools[:-1]) if tools.endswith("*") else tool == tools


def fold_tool(name: str) -> str:
    """Return a tool's name as `Rate.limits` compares it: no more of it than rates can name."""
    return name[:FOLDED].casefold()


@list_parser
def parse_rates(text: str) -> tuple[Rate, ...]:
    """Return the rates of a variable. Raises InvalidValue."""
    found = [_parse_rate(each) for each in parse_words(text)]
    if len({rate.tools for rate in found}) != len(found) or len(found) > RATES_MAX:
        raise InvalidValue(f"must name each tool once, and at most {RATES_MAX}.")
    return tuple(found)


def _parse_rate(word: str) -> Rate:
    of_tools = TOOLS.fullmatch(word)
    tools, rate = (of_tools[1], of_tools[2]) if of_tools else (None, word)
    read = RATE.fullmatch(rate)
    if read is None or tools == "*":
        raise InvalidValue(
            "must be rates such as 60/m, or search_*=10/m for tools; s, m and h are the units, and "
            "a * may only be at the end of a tool."
        )
    return Rate(int(read[1]), SECONDS[read[2]], tools)
