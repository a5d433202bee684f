"""What two HTTP/1.1 clients share: the engine's, for DynamoDB, and the gateway's, for upstreams.

For this project only. The engine's client reads whole responses, in threads and in event loops.
The gateway's streams, with one person per connection.
"""
