"""What fairseq registers as criterions."""

import fairseq  # noqa: F401  (whose end registers everything, whichever module is imported first)

from fairseq_mos.criterions import (  # noqa: F401
    sentence_prediction_distillation,
    supernet_label_smoothed_cross_entropy,
    supernet_masked_lm,
)
