"""Static files under names that carry a hash of their content, compressed by `collectstatic`."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # no types
    """Falls back to the plain name of a file that `collectstatic` has not seen.

    Otherwise every page, and the error page with it, fails for a missing style sheet.
    """

    def stored_name(self, name: str) -> str:
        """Return the hashed name, or the name itself where there is none."""
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name
