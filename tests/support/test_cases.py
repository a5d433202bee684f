"""`each_case` runs every case, and a case that fails fails the test and is named."""

import pytest

from tests.support.cases import each_case


def test_every_combination_is_run_once() -> None:
    seen = []

    @each_case("first, second", [(1, 2), pytest.param(3, 4, id="named")])
    @each_case("third", iter("ab"))
    def note(first: int, second: int, third: str) -> None:
        seen.append((first, second, third))

    for _ in range(2):
        note()
        assert seen == [(1, 2, "a"), (1, 2, "b"), (3, 4, "a"), (3, 4, "b")]
        seen.clear()


@each_case("value", "ab")
def test_cases_share_the_fixtures_of_the_test(value: str, subtests: pytest.Subtests) -> None:
    assert value in "ab"
    assert isinstance(subtests, pytest.Subtests)


@pytest.mark.parametrize("how", [pytest.fail, int, pytest.skip])
def test_any_failing_case_fails_the_test_and_is_named(how: type) -> None:
    @each_case("value", ["1", "x", "2"])
    def test(value: str) -> None:
        if value == "x":
            how(value)

    with pytest.raises(BaseException, match="x") as caught:
        test()
    assert caught.value.__notes__ == ["In this case: {'value': 'x'}"]


def test_no_case_is_an_error() -> None:
    with pytest.raises(AssertionError, match="without a case"):
        each_case("value", [])
