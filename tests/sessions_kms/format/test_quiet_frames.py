"""No frame that holds keys, plaintext or a secret is shown in Django's error report."""

from collections.abc import Callable

from sessions_kms.format import envelope, item_types
from tests.sessions_kms.support.quiet import shown_frames
from tests.sessions_kms.support.sealed import OTHER_DATA_KEY, open_, seal
from tests.support.cases import each_case

NO_UTF_8 = "\ud800"


@each_case(
    "failing",
    [
        lambda: open_(seal(), data_key=OTHER_DATA_KEY),
        lambda: open_(seal(), data_key=b"short"),
        lambda: seal(data_key=b"short"),
        lambda: seal(iv=None),
        lambda: item_types.session_id("django", NO_UTF_8),
        lambda: item_types.lease_id("django", NO_UTF_8),
        lambda: item_types.token_id("django", NO_UTF_8),
        lambda: item_types._digest(None),  # type: ignore[arg-type]
    ],
)
def test_frames_with_keys_are_hidden(failing: Callable[[], object]) -> None:
    assert shown_frames(failing, envelope, item_types) == set()
