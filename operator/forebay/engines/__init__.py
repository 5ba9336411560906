"""Model servers that come with the project: a real embeddings model on the CPU, and a simulator of a batching language model server."""
