"""Of many sessions at once: listed, ended, purged, wrapped anew; and the table and key set up."""
