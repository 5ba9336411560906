"""The batching sidecar: queues, limits and batches in front of one model server, and measures."""
