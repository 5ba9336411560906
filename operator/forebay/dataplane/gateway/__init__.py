"""The gateway: who asks, which pool answers, what is not computed twice."""
