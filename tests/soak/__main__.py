"""`python -m tests.soak [SCENE]`: exits with 1 when anything was wrong. Needs no AWS."""

import argparse
import os
import sys

from tests.conftest import AWS_ENVIRONMENT
from tests.soak import commands, hanging, traffic


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("scene", nargs="?", choices=["traffic", "hanging", "commands"])
    parser.add_argument("--minutes", type=float, default=20, help="of traffic, the default scene")
    parser.add_argument("--log", action="store_true", help="print the end of the log of hanging")
    parser.add_argument("--sessions", type=int, default=100_000, help="of the table of commands")
    options = parser.parse_args()
    os.environ.update(AWS_ENVIRONMENT)
    if options.scene == "commands":
        return commands.run(options.sessions)
    if options.scene == "hanging":
        return hanging.run(prints_log=options.log)
    return traffic.run(options.minutes * 60)


if __name__ == "__main__":
    sys.exit(main())
