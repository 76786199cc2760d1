"""Building blocks of the network: leaves (elastic or dense), expert mixing, attention, layers, stacks."""
