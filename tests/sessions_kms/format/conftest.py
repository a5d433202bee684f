"""Stacks of this folder: fakes, and moto in the long tier; `on_aws` adds servers to a test."""

from tests.sessions_kms.conftest import make_stack_without_servers as make_stack

__all__ = ["make_stack"]
