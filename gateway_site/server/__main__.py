"""`python -m gateway_site.server`: the same as `kms-gateway serve`."""

import sys

from gateway_site import server

if __name__ == "__main__":  # worker processes import this module too
    server.run(sys.argv[1:], program="gateway_site.server")
