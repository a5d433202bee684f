"""What tests measure of a page's layout."""

# Wider than the window at any of its parts: a page that has to be scrolled sideways.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
