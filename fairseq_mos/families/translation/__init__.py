"""Translation: an encoder and a decoder, HAT's search spaces, beam search and BLEU."""
