"""Forebay: a Kubernetes operator that sizes, places, routes and batches AI inference from measured demand."""

__version__ = "0.1.0"
