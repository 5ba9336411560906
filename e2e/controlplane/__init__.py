"""A real control plane without containers: its programs, its certificates, its processes, and the network namespace they live in."""
