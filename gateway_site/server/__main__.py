"""`python -m gateway_site.server`: serve the gateway with its own limits.

Takes the options of uvicorn's command line (`--host`, `--port`, `--workers`, …).
"""

import sys

import uvicorn

from gateway_site.server import APPLICATION, arguments

if __name__ == "__main__":  # worker processes import this module too
    uvicorn.main([APPLICATION, *arguments(), *sys.argv[1:]], prog_name="gateway_site.server")
