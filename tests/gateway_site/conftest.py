"""The fixtures of these tests."""

from tests.oauth.support.fixtures import corp, database_file, github, other, store, visitor

__all__ = ["corp", "database_file", "github", "other", "store", "visitor"]
