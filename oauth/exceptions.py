"""The errors of a sign-in. Messages are fixed sentences, without what a provider answered."""

from allauth.socialaccount.providers.base import ProviderException


class ProviderUnavailable(ProviderException):  # type: ignore[misc]  # allauth has no types
    """The provider did not answer, or answered what cannot be read."""


class ProviderRefused(ProviderException):  # type: ignore[misc]  # allauth has no types
    """The provider's answer was read, and must not be accepted."""
