"""Pages: Django in threads, with what a slow client sends and reads kept apart from them."""
