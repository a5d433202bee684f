"""The fixtures of these tests."""

from tests.oauth.fixtures import corp, github, other, store, visitor

__all__ = ["corp", "github", "other", "store", "visitor"]
