"""Model families: what a network is for. A folder a family, with whatever is particular to it."""
