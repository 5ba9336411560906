"""A fleet of model servers on a virtual clock: hours of a workload in seconds, for laws of scaling to be tried and compared on.

Every request, every replica's start and every decision is an event; the servers batch continuously by a profile. docs/simulation.md.
"""
