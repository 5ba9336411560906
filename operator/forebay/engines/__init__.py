"""Model servers that come with the project: a real embeddings server for the CPU, and a simulator for tests and demos."""
