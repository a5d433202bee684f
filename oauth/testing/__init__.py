"""A test kit: somebody signed in with a provider, a provider that refreshes, and an upstream.

It needs the engine of `sessions_kms.testing`. Each name is imported on its first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oauth.testing.provider import FakeProvider as FakeProvider
    from oauth.testing.provider import fake_provider as fake_provider
    from oauth.testing.sign_in import signed_in as signed_in
    from oauth.testing.upstream import ReceivedRequest as ReceivedRequest
    from oauth.testing.upstream import RecordingUpstream as RecordingUpstream
    from oauth.testing.upstream import recording_upstream as recording_upstream

_MODULES = {
    "FakeProvider": "provider",
    "ReceivedRequest": "upstream",
    "RecordingUpstream": "upstream",
    "fake_provider": "provider",
    "recording_upstream": "upstream",
    "signed_in": "sign_in",
}
__all__ = list(_MODULES)

if not TYPE_CHECKING:  # type checkers use the imports above, so that they reject unknown names

    def __getattr__(name: str) -> object:
        """Import a name on first use. Raises AttributeError for any other."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - nothing is imported before it is used

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
