"""No frame that holds keys, plaintext or a secret is shown in Django's error report."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.views.debug import ExceptionReporter

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import envelope, kinds
from tests.sessions_kms.support.sealed import OTHER_DATA_KEY, open_, seal

FILES = {envelope.__file__, kinds.__file__}
NO_UTF_8 = "\ud800"


def shown_frames(call: Callable[[], object]) -> list[str]:
    """Return the functions whose variables a report of a failing call shows."""
    request: Any = None
    try:
        call()
    except (InvalidRecord, TypeError, UnicodeEncodeError):
        frames = ExceptionReporter(request, *sys.exc_info()).get_traceback_frames()
        return [frame["function"] for frame in frames if frame["filename"] in FILES]
    raise AssertionError("nothing failed")


@pytest.mark.parametrize(
    "failing",
    [
        lambda: open_(seal(), data_key=OTHER_DATA_KEY),
        lambda: open_(seal(), data_key=b"short"),
        lambda: seal(data_key=b"short"),
        lambda: seal(iv=None),
        lambda: kinds.session_id("django", NO_UTF_8),
        lambda: kinds.lease_id("django", NO_UTF_8),
    ],
)
def test_frames_with_keys_are_hidden(failing: Callable[[], object]) -> None:
    assert shown_frames(failing) == []
