"""One session: loaded, saved, merged with what others saved, moved to another key, expired."""
