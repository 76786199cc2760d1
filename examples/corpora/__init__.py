"""Prepares the corpora of published experiments; see examples/wmt14_en_de/README.md."""
