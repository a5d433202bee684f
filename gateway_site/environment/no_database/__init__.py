"""A database backend for a process without `DATABASE_URL`: what needs the database says so."""
