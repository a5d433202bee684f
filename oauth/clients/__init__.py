"""OAuth clients that sign in here: the grants that people give them, and their tokens.

`endpoints` answers requests and `metadata_documents` fetches documents; the others work on tokens,
sessions and rules.
"""
