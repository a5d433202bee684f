"""Mixed traffic for a long time, with kills, outages, new data keys: docs/contributing/soak.md."""
