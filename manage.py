#!/usr/bin/env python
"""Run the gateway's commands in a checkout, as `kms-gateway --local` does."""

import sys

from gateway_site.__main__ import run

if __name__ == "__main__":
    run(sys.argv[1:], is_local=True)
