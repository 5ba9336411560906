"""End-to-end scenarios on a real Kubernetes control plane that runs as local processes. `python -m e2e.run` runs them."""
