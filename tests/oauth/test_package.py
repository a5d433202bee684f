"""The public names of the package."""

from tests.support.processes import output_of


def test_package_is_imported_before_there_are_settings() -> None:
    code = "import oauth, sys; print([name for name in sys.modules if 'django' in name])"
    assert output_of(code, {"PATH": ""}) == "[]"
