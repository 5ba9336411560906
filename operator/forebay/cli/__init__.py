"""The command line: one command with roles and tools."""
