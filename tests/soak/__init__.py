"""Mixed traffic for a long time, with kills, outages and new data keys: docs/contributing/soak.md."""
