"""Operations on sessions: list, end, delete, rewrap, import; and creating the table and the key."""
