"""Threads and event loops: bounded waits, single flight, coroutines that run in both."""
