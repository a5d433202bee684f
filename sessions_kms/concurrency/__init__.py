"""Threads and event loops: time limits, single flight, and coroutines that run in both."""
