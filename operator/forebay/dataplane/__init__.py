"""A request's path: HTTP in, HTTP out, bounded everywhere."""
