"""Measurements: what each of them says, and figures taken with them, is in docs/benchmarks.md.

A bench is one module of this package with NAME, HELP and `run(args) -> list[dict]`, found by its file's name. Figures are ratios within
one run wherever there is something to compare with, because machines differ and are noisy.
"""
