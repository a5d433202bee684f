"""Static files: served in front of the application, under names with a hash of their content.

Where nothing was collected, the packages' own files are served under their plain names.

ServeStatic starts its response before it opens the file. The start is held back until the file is
open, so that a file that cannot be opened now is a 503.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from django.contrib.staticfiles.finders import AppDirectoriesFinder
from servestatic import ServeStaticASGI
from servestatic.storage import CompressedManifestStaticFilesStorage
from servestatic.utils import decode_path_info

from gateway_site.edge import descriptors
from gateway_site.edge.client import ASGIApplication, Receive, Scope, Send

RETRY_AFTER = b"5"  # seconds


def serve_static_files(
    application: ASGIApplication, *, root: Path | None, prefix: str
) -> ASGIApplication:
    """Return an application that serves the collected files, and passes on all else.

    If `collectstatic` has not filled `root`, it serves the packages' files: the first app wins.
    """
    files = ServeStaticASGI(
        application,
        prefix=prefix,
        allow_all_origins=False,
        add_headers_function=_add_headers,
    )
    if root is not None and root.is_dir() and any(root.iterdir()):
        files.add_files(root, prefix)
    else:
        for storage in reversed(AppDirectoriesFinder().storages.values()):
            files.add_files(storage.location, prefix)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and decode_path_info(scope["path"]) in files.files:
            await _serve_file(files, scope, receive, send)
        else:
            await application(scope, receive, send)

    return serve


async def _serve_file(files: ASGIApplication, scope: Scope, receive: Receive, send: Send) -> None:
    start: list[Mapping[str, Any]] = []

    async def send_later(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        if start:
            await send(start.pop())
        await send(message)

    try:
        await files(scope, receive, send_later)
    except OSError as error:
        if not (start and descriptors.is_exhaustion(error)):
            raise
        headers = [(b"retry-after", RETRY_AFTER), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _add_headers(headers: Headers, path: str, url: str) -> None:
    """Forbid guessing the type of a static file."""
    headers["X-Content-Type-Options"] = "nosniff"


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # no types
    """Uses the plain name of a file that `collectstatic` has not seen.

    Otherwise a missing style sheet would break every page, including the error page.
    """

    def stored_name(self, name: str) -> str:
        """Return the hashed name, or the name itself without one."""
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name

    def add_stats_to_manifest(self) -> None:
        """Add no times and sizes: only ServeStatic's middleware reads them.

        Without them, the same files have the same manifest, and images the same content.
        """
