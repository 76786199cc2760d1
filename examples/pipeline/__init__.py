"""The pipeline behind the examples: from raw parallel text to a table of translation scores."""
