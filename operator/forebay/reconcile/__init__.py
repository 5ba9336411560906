"""Observe, plan, apply, report: the only room that turns events into work."""
