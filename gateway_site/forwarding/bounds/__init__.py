"""How many calls and pages are in work at one time, and who waits for a place."""
