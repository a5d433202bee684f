"""Threads and event loops: bounded waits, one flight for many, work written once as steps."""
