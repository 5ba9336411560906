"""Everything outside: each a Protocol, the real one, and an in-memory one beside it."""
