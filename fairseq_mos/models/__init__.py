"""What fairseq registers as models."""

import fairseq  # noqa: F401  (whose end registers everything, whichever module is imported first)
