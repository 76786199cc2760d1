"""Model families: what a network is for. A family is a folder here."""
