"""Code shared by two HTTP/1.1 clients: the engine's for DynamoDB, the gateway's for upstreams.

For this project only. The engine's client reads whole responses, in threads and in event loops. The
gateway's client streams, and uses each connection for one person only.
"""
