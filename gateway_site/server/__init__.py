"""The server: uvicorn on httptools, with bounds on what a client may take, and for how long.

python -m gateway_site.server --host 0.0.0.0 --port 8000     how it is started (__main__)
options        what every way of starting it has in common
protocol       one connection: what is refused, when it is closed
request_lines  where each request begins, and its first line, pure
heads          the rules of a request's head, pure
connections    all connections of a process: how many, and which goes first
accepting      pauses while no descriptor is left
lifespan       what becomes of a process that is told to end
door           what is refused under other servers too, ASGI and WSGI
"""
