"""A lazy module is imported once, on first use."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions_kms.concurrency.lazy_module import LazyModule, is_imported
from tests.sessions_kms.support.fakes import together

NAME = "imported_once_at_first_use"
SOURCE = "response = object()\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LazyModule]:
    (tmp_path / f"{NAME}.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield LazyModule(NAME)
    sys.modules.pop(NAME, None)


def test_nothing_is_imported_before_a_name_is_used(module: LazyModule) -> None:
    assert not is_imported(module)
    assert NAME not in sys.modules
    response = module.response
    assert is_imported(module)
    assert response is sys.modules[NAME].response


def test_later_uses_find_an_attribute(module: LazyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    response = module.response
    monkeypatch.delattr(LazyModule, "__getattr__")
    assert module.response is response


def test_missing_name_is_reported_with_the_module(module: LazyModule) -> None:
    with pytest.raises(AttributeError, match=f"'{NAME}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018 - that is the test


def test_failed_import_is_tried_again(tmp_path: Path, module: LazyModule) -> None:
    source = tmp_path / f"{NAME}.py"
    source.write_text("raise ImportError('not yet')", encoding="utf-8")
    with pytest.raises(ImportError, match="not yet"):
        module.response  # noqa: B018 - that is the test
    assert not is_imported(module)
    source.write_text(SOURCE + "# of another length\n", encoding="utf-8")
    assert module.response is sys.modules[NAME].response


def test_concurrent_first_uses_get_the_same_complete_module(module: LazyModule) -> None:
    found = together(16, lambda _: module.response)
    assert found == [sys.modules[NAME].response] * 16
