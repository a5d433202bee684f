"""The gateway under its own server, with a signed-in person; it prints the session's cookie.

python -m tests.support.production.gateway
"""

from gateway_site.asgi import application
from gateway_site.server import OPTIONS
from tests.support.production.person import signed_in_cookie
from tests.support.production.uvicorn_server import serve

if __name__ == "__main__":
    serve(application, options=OPTIONS, cookie=signed_in_cookie(), path="gateway/bench/")
