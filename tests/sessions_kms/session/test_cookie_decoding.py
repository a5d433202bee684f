"""A Cookie header is decoded as Django does it, and in time that is linear in its length."""

import pytest
from django.http import parse_cookie
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_kms.session.cookies import decode_header, decode_value
from tests.support.cases import each_case

texts = st.lists(
    st.sampled_from(['"', "\\", '\\"', "\\054", "\\377", "\\400", "\\38", ";", "=", ",", " ", "a"])
    | st.characters(max_codepoint=255)
    | st.sampled_from(["\x85", "\xa0", "\x1c", "\u3000", "\ufffd", "\n", "\x00"]),
    max_size=30,
).map("".join)
quoted = texts.map(lambda text: f'"{text.replace(";", "")}"')
headers = st.lists(
    st.builds("{}={}".format, st.sampled_from(["a", "b", " a ", ""]) | texts, texts | quoted)
    | texts,
    max_size=6,
).map("; ".join)


@given(header=headers)
@example(header='a="b\\054c\\"d\\\\e"; a=2; bare; =; ""=""; b="\\"; c="; d="\\1"; e="\\\n"')
def test_header_is_decoded_as_django_does_it(header: str) -> None:
    assert decode_header(header) == parse_cookie(header)


@given(value=quoted)
def test_quoted_value_is_decoded_as_django_does_it(value: str) -> None:
    found = {"a": decode_value(value)}
    assert found == parse_cookie(f"a={value}")


@pytest.mark.slow
@each_case("part", ['"', "\\", '\\"', "\\1", "\\054", "\\05", '"\\', " ", "=", ";"])
@each_case("whole", ['a="{}"', 'a="{}', "{}", "a={}"])
def test_long_header_is_parsed_in_linear_time(part: str, whole: str) -> None:
    """What takes the square of its length would take hours here."""
    decode_header(whole.format(part * 500_000))
