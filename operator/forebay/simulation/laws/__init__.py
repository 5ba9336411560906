"""Laws of scaling: our own planner behind the seam, the bounds, and peers re-implemented from what they publish.

A re-implementation follows a peer's formulas and defaults; it is not the peer. Sources stand in each module.
"""
