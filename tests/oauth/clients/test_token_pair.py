"""The form of tokens: distinguished by their prefixes, and impossible to guess."""

import re

import pytest

from oauth.clients import token_pair
from tests.support.cases import each_case

KINDS = [token_pair.CODE, token_pair.ACCESS, token_pair.REFRESH]


@pytest.mark.parametrize("kind", KINDS)
def test_token_is_of_its_kind_and_of_no_other(kind: str) -> None:
    made = token_pair.new_token(kind)
    assert re.fullmatch(r"gw[car]_[a-z0-9]{32}", made)
    assert token_pair.is_token(made)
    assert [each for each in KINDS if token_pair.is_token(made, each)] == [kind]


def test_tokens_are_unique_and_use_the_whole_alphabet() -> None:
    made = {token_pair.new_token(token_pair.ACCESS) for _ in range(200)}
    assert len(made) == 200
    assert set("".join(each[4:] for each in made)) == set(token_pair.ALPHABET)


@each_case(
    "text",
    [
        *("", "gwa_", "a" * 32, " gwa_" + "a" * 32, "gwa_" + "a" * 32 + "\n", "gwx_" + "a" * 32),
        *("gwa_" + "a" * 31, "gwa_" + "a" * 33, "gwa_" + "A" * 32, "gwa_" + "\u0663" * 32),
    ],
)
def test_malformed_token_is_rejected(text: str) -> None:
    assert not token_pair.is_token(text)
