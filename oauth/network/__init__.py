"""Asking providers: bounded in time and size, at vetted addresses, few at once."""
