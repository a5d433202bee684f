"""The folder for the local stack's persistent state.

It contains secrets and an exclusive lock. While `runlocal` has the lock, the folder also contains
the variables to reach the stack, for other commands (`variables.json`) and for
other projects (`aws.env`).
"""

import fcntl
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, MutableMapping
from io import TextIOWrapper
from pathlib import Path
from shlex import quote

LOCK = "lock"  # the name of the file
LOCK_TRIES = 20
LOCK_PAUSE = 0.02  # seconds; `is_locked` holds the lock for less


class StateInUseError(Exception):
    """Another process holds the lock of this state folder."""


class NotPrivateError(Exception):
    """The state folder belongs to another user."""


def make_private_folder(path: Path) -> Path:
    """Create the folder if it is missing, and make it accessible to its owner only.

    Raises NotPrivateError if it is another user's, and OSError if it cannot be created.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise NotPrivateError(str(path))
    path.chmod(0o700)
    return path


def is_private(path: Path) -> bool:
    """Return True for a folder of this user that nobody else can enter, and not for a link to one.

    Anybody else's variables would send this user's sessions to their AWS endpoints.
    """
    found = path.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and stat.S_IMODE(found.st_mode) == 0o700


def write_private_file(path: Path, text: str) -> None:
    """Replace the file in one step: a process killed in between leaves the old one whole."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:  # mkstemp makes it 0600
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def load_or_create_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in the file; create both if there is no file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        secret = make()
    write_private_file(path, secret)
    return secret


def acquire_lock(folder: Path) -> TextIOWrapper:
    """Lock the folder until the returned file is closed or the process ends.

    Raises StateInUseError when another process has the lock.
    """
    file = (folder / LOCK).open("a", encoding="utf-8")
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        else:
            return file
    file.close()
    raise StateInUseError(str(folder))


def is_locked(folder: Path) -> bool:
    """Return True if a process has the lock of the folder."""
    try:
        file = (folder / LOCK).open(encoding="utf-8")
    except (FileNotFoundError, PermissionError):
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


VARIABLES_FILE = "variables.json"
SETTINGS = "gateway_site.settings"
# An environment with one of these refers to another stack. A Region alone, trusted authorities or
# the output format of the AWS CLI do not.
OTHER_STACK = re.compile(
    "AWS_(?!REGION$|DEFAULT_REGION$|CA_BUNDLE$|PAGER$|DEFAULT_OUTPUT$|CLI_).+"
    "|KMS_KEY_ARN|SESSIONS_TABLE|DATABASE_URL|DJANGO_SECRET_KEY"
)


def publish_variables(folder: Path, variables: Mapping[str, str]) -> None:
    """Write the gateway's variables for other commands, readable by the owner only."""
    text = json.dumps(variables, indent=2, sort_keys=True) + "\n"
    write_private_file(folder / VARIABLES_FILE, text)


def withdraw_variables(folder: Path) -> None:
    """Remove the published variables: the stack is not running, or not yet."""
    (folder / VARIABLES_FILE).unlink(missing_ok=True)


def list_other_stack(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables by which an environment refers to another stack."""
    return sorted(
        name for name, value in environment.items() if value and OTHER_STACK.fullmatch(name)
    )


def is_running_stack_ignored(environment: Mapping[str, str], folder: Path) -> bool:
    """Return True if a stack runs here and the environment refers to another one.

    `GATEWAY_LOCAL` marks the running stack's own gateway, which got all its variables from it.
    """
    is_gateway = environment.get("DJANGO_SETTINGS_MODULE") == SETTINGS
    is_marked = bool(environment.get("GATEWAY_LOCAL"))
    means_other = is_gateway and not is_marked and bool(list_other_stack(environment))
    return means_other and is_locked(folder)


def use_running_stack(environment: MutableMapping[str, str], folder: Path) -> bool:
    """Add the running stack's variables to an environment that does not refer to another stack.

    Return whether they were added. The folder must be private (`is_private`).
    """
    if environment.get("DJANGO_SETTINGS_MODULE") != SETTINGS or not is_locked(folder):
        return False
    if list_other_stack(environment):
        return False
    try:
        with (folder / VARIABLES_FILE).open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():  # the folder was exchanged
                return False
            variables = json.load(file)
    except (FileNotFoundError, PermissionError):  # still starting, or another user's
        return False
    environment.update(variables)
    return True


# For other projects: a script for POSIX shells

AWS_NAMES = "AWS_[A-Z0-9_]*"
KEY = "KMS_KEY_ARN"


def build_aws_script(variables: Mapping[str, str], path: Path) -> str:
    """Return the script for a path: it sets only AWS's variables and `KMS_KEY_ARN`.

    With the argument `off` it restores the previous values. Until then, `gateway_aws_before` holds
    the shell's exports in the shell's own quoting: running the script twice must not save the
    stack's variables as the previous ones.
    """
    ours = {name: value for name, value in variables.items() if name.startswith("AWS_")}
    ours[KEY] = variables[KEY]
    exports = "\n".join(f"  export {name}={quote(value)}" for name, value in sorted(ours.items()))
    return f"""\
# DynamoDB and KMS of the running local stack, for another project. In bash, zsh or ksh:
#   . {path}        # and KEY_ID in its SESSIONS_KMS is os.environ["{KEY}"]
#   . {path} off    # what the shell had before
_gateway_aws_unset() {{
  unset {KEY} $(env | sed -n 's/^\\({AWS_NAMES}\\)=.*/\\1/p')
}}
if [ "${{1-}}" = off ]; then
  if [ -n "${{gateway_aws_before+set}}" ]; then
    _gateway_aws_unset
    eval "$gateway_aws_before"
    unset gateway_aws_before
  fi
else
  if [ -z "${{gateway_aws_before+set}}" ]; then
    gateway_aws_before=$(export -p | grep -E '^[a-z]+( -[a-z]+)? ({AWS_NAMES}|{KEY})=' || :)
  fi
  _gateway_aws_unset
{exports}
fi
unset -f _gateway_aws_unset
"""
