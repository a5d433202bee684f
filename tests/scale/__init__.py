"""How a large site loads DynamoDB and KMS: the real engine in a fleet, on a virtual clock.

`python -m tests.scale` prints the tables of docs/scale.md.
"""
