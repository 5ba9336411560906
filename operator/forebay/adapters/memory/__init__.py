"""The Kubernetes API in memory. `cluster.py` has the verbs; the rest is what they share."""

from forebay.adapters.memory.cluster import MemoryCluster

__all__ = ["MemoryCluster"]
