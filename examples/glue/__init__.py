"""Fine-tuning on GLUE: preparation of the data, the published grid, scores, and tables beside the published ones."""
