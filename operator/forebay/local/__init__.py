"""One machine, no cluster: pods as processes, slots as nodes."""
