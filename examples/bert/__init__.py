"""A supernet of masked language models on a small text, its subnets beside training from scratch."""
