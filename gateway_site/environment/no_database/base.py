"""The backend, under the name that Django looks for.

It is SQLite's, which compiles queries and never connects: nothing is written to a default place.
"""

from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.sqlite3 import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    """What SQLite is asked by checks, answered without a connection."""

    supports_json_field = True


class DatabaseWrapper(base.DatabaseWrapper):
    """Raises ImproperlyConfigured, naming the variable, at the first use of the database."""

    features_class = DatabaseFeatures

    def connect(self) -> NoReturn:
        """Raise ImproperlyConfigured."""
        raise ImproperlyConfigured("DATABASE_URL is missing: this needs the SQL database.")
