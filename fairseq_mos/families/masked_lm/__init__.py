"""Masked language models: BERT and RoBERTa."""
