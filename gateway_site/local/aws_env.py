"""The shell script by which another project uses the local stack's DynamoDB and KMS.

Variables enter, a script for POSIX shells leaves. It changes variables of AWS and
`KMS_KEY_ARN` only, and puts back what the shell had before when it is told `off`.
"""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

NAMES = "AWS_[A-Z0-9_]*"
KEY = "KMS_KEY_ARN"


def script(variables: Mapping[str, str], path: Path) -> str:
    """Return the script that stands at a path; of the variables it takes those named above.

    `gateway_aws_before` holds what the shell exported, in the shell's own quoting, while the
    script is on: a second `on` must not take the stack's variables for the shell's.
    """
    ours = {name: value for name, value in variables.items() if name.startswith("AWS_")}
    ours[KEY] = variables[KEY]
    exports = "\n".join(f"  export {name}={quote(value)}" for name, value in sorted(ours.items()))
    return f"""\
# DynamoDB and KMS of the running local stack, for another project. In bash, zsh or ksh:
#   . {path}        # and KEY_ID in its SESSIONS_KMS is os.environ["{KEY}"]
#   . {path} off    # what the shell had before
_gateway_aws_unset() {{
  unset {KEY} $(env | sed -n 's/^\\({NAMES}\\)=.*/\\1/p')
}}
if [ "${{1-}}" = off ]; then
  if [ -n "${{gateway_aws_before+set}}" ]; then
    _gateway_aws_unset
    eval "$gateway_aws_before"
    unset gateway_aws_before
  fi
else
  if [ -z "${{gateway_aws_before+set}}" ]; then
    gateway_aws_before=$(export -p | grep -E '^[a-z]+( -[a-z]+)? ({NAMES}|{KEY})=' || :)
  fi
  _gateway_aws_unset
{exports}
fi
unset -f _gateway_aws_unset
"""
