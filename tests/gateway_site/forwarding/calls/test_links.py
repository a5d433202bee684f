"""`Link` headers: which are passed on, and how different programs interpret them."""

import pytest

from gateway_site.forwarding.calls.response_addresses import (
    LINKS_LENGTH_MAX,
    LINKS_MAX,
    PARAMETERS_MAX,
    replace_link_addresses,
)
from tests.support.cases import each_case


def replace(address: str) -> str | None:
    """Stand for the gateway: addresses of `api` are within the upstream, all others are not."""
    return f"https://gw/{address.removeprefix('api/')}" if address.startswith("api/") else None


def replace_links(*fields: str) -> list[str]:
    return replace_link_addresses(list(fields), replace)


@each_case(
    ("given", "expected"),
    [
        ('<api/x?page=2>; rel="next"', '<https://gw/x?page=2>; rel="next"'),
        (
            '<api/x?page=2>; rel="next", <api/x?page=9>; rel="last"',
            '<https://gw/x?page=2>; rel="next", <https://gw/x?page=9>; rel="last"',
        ),
        ("<api/x>;rel=next,<api/y>;rel=last", "<https://gw/x>; rel=next, <https://gw/y>; rel=last"),
        ("<api/x>", "<https://gw/x>"),
        (" \t<api/x> \t; \trel \t= \tnext \t", "<https://gw/x>; rel=next"),
        (" , <api/x>,, ,<api/y>, ", "<https://gw/x>, <https://gw/y>"),
        ("<api/x>;;rel=next;", "<https://gw/x>; rel=next"),
        ('<api/x>; REL="next"; crossorigin', '<https://gw/x>; rel="next"; crossorigin'),
        (
            '<api/x>; rel="https://api.w.org/ next"; title="A b"; type=text/html; hreflang=de',
            '<https://gw/x>; rel="https://api.w.org/ next"; title="A b"; type=text/html; '
            "hreflang=de",
        ),
        ("<api/x>; title*=UTF-8''n%c3%a4", "<https://gw/x>; title*=UTF-8''n%c3%a4"),
        ('<api/x>; title="\xc3\xa4"', '<https://gw/x>; title="\xc3\xa4"'),
        # An anchor is an address, too.
        ('<api/x>; rel=up; anchor="api/y"', '<https://gw/x>; rel=up; anchor="https://gw/y"'),
        ("<api/x>; anchor=api/y", '<https://gw/x>; anchor="https://gw/y"'),
        # Programs cut the header at these characters.
        ("<api/x?a=1,2;b=3>; rel=next", "<https://gw/x?a=1%2C2%3Bb=3>; rel=next"),
        ('<api/x>; anchor="api/y?a=1,2"', '<https://gw/x>; anchor="https://gw/y?a=1%2C2"'),
        # One link is dropped, the others stay.
        ("<evil/x>; rel=next, <api/y>; rel=last", "<https://gw/y>; rel=last"),
        ('<api/x>; rel=next; anchor="evil/y", <api/z>', "<https://gw/z>"),
    ],
)
def test_links_within_are_replaced_and_others_dropped(given: str, expected: str) -> None:
    assert replace_links(given) == [expected]


@each_case(
    "given",
    [
        "",
        " , ,",
        "api/x",
        "<api/x",
        "api/x>; rel=next",
        "<<api/x>>",
        "<api/x>>",
        "<api/x> <api/y>",
        "<api/x>; rel=next <api/y>",
        "<api/x> rel=next",
        "<api/x>; rel=",
        '<api/x>; rel="next',
        '<api/x>; rel="next"x',
        '<api/x>; rel="next\\',
        "<api/x>; rel=ne xt",
        "<api/x>; re\x7fl=next",
        '<api/x>; rel="a\x01b"',
        "<api/x>; =next",
        "<api/x>; rel==next",
        "<api/x>; rel='next, <api/y>'; \"",
        "<api/x>; t\xe4=next",
        "<>; rel=next",
    ],
)
def test_field_that_does_not_follow_the_grammar_is_dropped(given: str) -> None:
    assert replace_links(given) == []
    assert replace_links(given, "<api/y>") == ["<https://gw/y>"]


@each_case(
    ("parameter", "kept"),
    [
        ('title="a, <https://evil.example>; rel=next"', False),
        ('title="a, https://evil.example"', False),
        ('title="a; b"', False),
        ('title="a \\" b"', False),
        ('imagesrcset="https://evil.example/x 2x"', False),
        ("imagesrcset=https://evil.example/x", False),
        ('title="a b"', True),
    ],
)
def test_parameter_in_which_a_program_could_find_an_address_is_left_out(
    parameter: str, kept: bool
) -> None:
    expected = f"<https://gw/x>; rel=next{'; ' + parameter if kept else ''}; media=all"
    assert replace_links(f"<api/x>; rel=next; {parameter}; media=all") == [expected]


@each_case(
    "parameter",
    [
        'rel="next, <https://evil.example>"',
        'rel="next; https://evil.example"',
        'rel="next \\" x"',
        'rev="a, b"',
        "rel*=UTF-8''next",
        "anchor*=UTF-8''https%3A%2F%2Fevil.example",
        "anchor",
        'anchor=""',
        'anchor="evil"',
        'anchor="api/y"; anchor="api/y"',
    ],
)
def test_link_whose_meaning_depends_on_a_dropped_parameter_is_dropped(parameter: str) -> None:
    assert replace_links(f"<api/x>; {parameter}, <api/y>") == ["<https://gw/y>"]


@pytest.mark.parametrize(
    "fields",
    [
        ["<api/x>; title=" + "a" * LINKS_LENGTH_MAX],
        ["<api/x>"] * (LINKS_MAX + 1),
        [", ".join(["<api/x>"] * (LINKS_MAX + 1))],
        ["<api/x>" + "; a" * (PARAMETERS_MAX + 1)],
        ["<" * (64 * 1024)],
    ],
    ids=["length", "fields", "links", "parameters", "brackets"],
)
def test_nothing_is_resolved_of_fields_beyond_the_bounds(fields: list[str]) -> None:
    asked: list[str] = []

    def noting(address: str) -> str | None:
        asked.append(address)
        return address

    assert replace_link_addresses(fields, noting) == []
    assert not asked


def test_as_many_links_as_allowed_are_returned() -> None:
    (found,) = replace_links(", ".join(["<api/x>; rel=next"] * LINKS_MAX))
    assert found.count("<https://gw/x>; rel=next") == LINKS_MAX
