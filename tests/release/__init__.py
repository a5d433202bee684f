"""What is released, installed into empty environments and used as its READMEs say.

`make release-check` builds the distributions and runs these tests, with RELEASE_DIST as the folder.
They fetch packages and take minutes: `make test` and `make test-long` leave them alone.
"""
