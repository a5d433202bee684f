"""The cache of documents is bounded, and empty in a forked child."""

import os
import warnings

from oauth.network.document_cache import DOCUMENTS_MAX, DocumentCache


def documents() -> DocumentCache[int, str]:
    return DocumentCache(lambda number: f"document {number}", max_age=60)


def test_cache_is_cleared_when_it_is_full() -> None:
    kept = documents()
    first = kept.of(0)
    for number in range(DOCUMENTS_MAX):
        kept.of(number)
    assert kept.of(0) is first
    kept.of(DOCUMENTS_MAX)
    assert kept.of(0) is not first


def test_forked_child_has_none_of_its_parents_documents() -> None:
    kept = documents()
    first = kept.of(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of the test run
        child = os.fork()
    if child == 0:
        os._exit(0 if kept.of(0) is not first else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert kept.of(0) is first
