"""Many cases in one test.

To pytest, each case of `pytest.mark.parametrize` is a test of its own, with set-up, fixtures and
reports: 5 ms of CPU, where one of a pure function takes microseconds.
"""

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature, signature
from itertools import product
from typing import Any

import pytest

Test = Callable[..., None]


class Cases:
    """A test of every combination of cases. The first that fails is named in the error."""

    def __init__(self, test: Test, axes: list[list[dict[str, Any]]]) -> None:
        self.test = test
        self.axes = axes

    def run(self, fixtures: dict[str, Any]) -> None:
        for combination in product(*self.axes):
            case = {name: value for part in combination for name, value in part.items()}
            try:
                self.test(**case, **fixtures)
            except BaseException as error:  # what `pytest.fail` raises is no Exception
                error.add_note(f"In this case: {case!r:.2000}")
                raise

    def fixtures(self) -> list[Parameter]:
        """Return the parameters of the test that are in no case."""
        given = {name for axis in self.axes for name in axis[0]}
        return [each for each in signature(self.test).parameters.values() if each.name not in given]


def each_case(
    names: str | Iterable[str], cases: Iterable[Any], ids: object = None
) -> Callable[[Test], Test]:
    """Run a test with each of the cases, as `pytest.mark.parametrize` would.

    Only for cases that change nothing that the next one sees: they share the fixtures.
    """
    keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    axis = [name_cases(keys, case) for case in cases]
    assert axis, "a test without a case tests nothing"

    def decorate(test: Test) -> Test:
        inner = getattr(test, "cases", Cases(test, []))
        outer = Cases(inner.test, [axis, *inner.axes])

        def run(**fixtures: Any) -> None:
            outer.run(fixtures)

        run.cases = outer  # type: ignore[attr-defined]  # for one more decorator
        run.__signature__ = Signature(outer.fixtures())  # type: ignore[attr-defined]  # for pytest
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(run, name, getattr(test, name))
        return run

    return decorate


def name_cases(keys: list[str], case: Any) -> dict[str, Any]:
    values = case.values if isinstance(case, type(pytest.param())) else case
    if len(keys) == 1 and values is case:
        return {keys[0]: case}
    assert len(values) == len(keys)
    return dict(zip(keys, values, strict=True))
