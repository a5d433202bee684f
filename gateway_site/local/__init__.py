"""The local stack of `make run`, for development and tests: never imported in production."""
