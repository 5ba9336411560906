"""Pure decisions: a snapshot in, a plan out. No clock, no randomness, no I/O."""
