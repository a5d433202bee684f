"""The rules for clients and their requests, without Django or the network."""
