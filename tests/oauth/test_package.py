"""What the package offers by its own name."""

import pytest

import oauth
from tests.support.processes import printed_by


def test_package_is_imported_before_there_are_settings() -> None:
    code = "import oauth, sys; print([name for name in sys.modules if 'django' in name])"
    assert printed_by(code, {"PATH": ""}) == "[]"


@pytest.mark.parametrize("name", oauth.__all__)
def test_name_is_there(name: str) -> None:
    assert getattr(oauth, name).__name__ == name


def test_other_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'token'"):
        oauth.token  # noqa: B018 - that is the test
