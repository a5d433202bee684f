"""The frames of a failing call that Django's error report shows."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.views.debug import ExceptionReporter

from sessions_kms.exceptions import SessionsKMSError

REFUSALS = (SessionsKMSError, AttributeError, TypeError, UnicodeEncodeError)


def shown_frames(call: Callable[[], object], *modules: ModuleType) -> set[str]:
    """Return the functions of some modules whose variables the report of a failing call shows."""
    request: Any = None
    with pytest.raises(REFUSALS) as failed:
        call()
    reporter = ExceptionReporter(request, failed.type, failed.value, failed.tb)
    files = {module.__file__ for module in modules}
    frames = reporter.get_traceback_frames()
    return {frame["function"] for frame in frames if frame["filename"] in files}
