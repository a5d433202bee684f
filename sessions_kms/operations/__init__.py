"""What an operator does: list, end, delete, rewrap and import sessions; create table and key."""
