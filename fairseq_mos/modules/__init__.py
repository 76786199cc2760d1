"""Leaves, expert mixing, routing, blocks and stacks of the networks."""

import fairseq  # noqa: F401  (whose end registers everything, whichever module is imported first)
