"""Secrets that are kept in files, as Docker and Kubernetes hand them out: `<VARIABLE>_FILE`.

Variables enter, and leave with what the files hold in place of their paths. The process's own
environment stays as it is, so that no child inherits a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.names import FILE

SIZE_MAX = 64 * 1024  # bytes


def applied(environment: Mapping[str, str], is_secret: Callable[[str], bool]) -> dict[str, str]:
    """Return the environment with each secret in place of the file that holds it.

    `is_secret` tells which variables may be in one. Raises ImproperlyConfigured where both are
    set, and for a file that cannot be read, is empty, too large or no text.
    """
    found = dict(environment)
    for variable, path in environment.items():
        name = variable.removesuffix(FILE)
        if name == variable or not path.strip() or not is_secret(name):
            continue
        if environment.get(name, "").strip():
            raise ImproperlyConfigured(f"{name} and {variable} are both set: remove one of them.")
        found[name] = _content(variable, Path(path.strip()))
        del found[variable]
    return found


def _content(variable: str, path: Path) -> str:
    """Return what a regular file holds, without the newline at its end."""
    try:
        if not path.is_file():  # a pipe might never end
            raise ImproperlyConfigured(f"{variable} names no file that there is.")
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
        content = data.decode("utf-8")
    except OSError as error:
        raise ImproperlyConfigured(
            f"The file of {variable} cannot be read: {error.strerror}."
        ) from None
    except ValueError:
        raise ImproperlyConfigured(f"The file of {variable} is no text in UTF-8.") from None
    if len(data) > SIZE_MAX:
        raise ImproperlyConfigured(f"The file of {variable} is over {SIZE_MAX:,} bytes long.")
    if not content.strip() or "\0" in content:
        raise ImproperlyConfigured(f"The file of {variable} is empty, or no text.")
    return content.removesuffix("\n").removesuffix("\r")
