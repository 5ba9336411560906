"""What several benches need: processes that are measured, load, and tables."""
