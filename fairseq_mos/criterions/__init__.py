"""Criterions; importing this package registers them."""

from fairseq_mos.criterions import supernet_label_smoothed_cross_entropy  # noqa: F401
