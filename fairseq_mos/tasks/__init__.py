"""What fairseq registers as tasks."""

import fairseq  # noqa: F401  (whose end registers everything, whichever module is imported first)
