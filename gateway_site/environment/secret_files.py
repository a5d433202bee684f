"""Secrets in files, as Docker and Kubernetes provide them: `<VARIABLE>_FILE`.

The process's own environment is not changed, so that no child process inherits a secret.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.variable import FILE, read_text_file

SIZE_MAX = 64 * 1024  # bytes


def load_secret_files(
    environment: Mapping[str, str], is_secret: Callable[[str], bool]
) -> dict[str, str]:
    """Return the environment with each secret in place of the path of its file.

    `is_secret` says which variables may be in files. Raises ImproperlyConfigured if both are set,
    and for a file that is unreadable, empty, too large or not text.
    """
    found = dict(environment)
    for variable, path in environment.items():
        name = variable.removesuffix(FILE)
        if name == variable or not path.strip() or not is_secret(name):
            continue
        if environment.get(name, "").strip():
            raise ImproperlyConfigured(f"{name} and {variable} are both set: remove one of them.")
        found[name] = _load(variable, Path(path.strip()))
        del found[variable]
    return found


def _load(variable: str, path: Path) -> str:
    """Return the content of a regular file without the newline at its end."""
    try:
        content = read_text_file(path, SIZE_MAX)
    except ValueError as error:
        raise ImproperlyConfigured(f"{variable}: {error}") from None
    if not content.strip() or "\0" in content:
        raise ImproperlyConfigured(f"{variable}: the file is empty, or not text.")
    return content.removesuffix("\n").removesuffix("\r")
