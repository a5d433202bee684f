"""Recording every logger ends with the test."""

import logging

import pytest

from tests.sessions_kms.support.leaks import record_everything


def test_loggers_are_recorded_at_debug_and_forget_it() -> None:
    logger = logging.getLogger("botocore.endpoint")
    assert not logger.isEnabledFor(logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch:
        record_everything(patch)
        assert logger.isEnabledFor(logging.DEBUG)
    assert not logger.isEnabledFor(logging.DEBUG)
