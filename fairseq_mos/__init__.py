"""fairseq-mos: Mixture-of-Supernets as a fairseq plugin; the entry of `--user-dir fairseq_mos`.

Importing it repairs the installed fairseq (:mod:`fairseq_mos.compat`) and registers models, tasks and
criterions. Only our own command (`fairseq-mos VERB`) delays that until it needs a model, because importing
fairseq takes seconds and `--help` should not.
"""

import sys
from pathlib import Path

_OUR_COMMAND = (
    "fairseq_mos.cli" in getattr(sys, "orig_argv", ()) or Path((sys.argv or [""])[0]).name == "fairseq-mos"
)


def register() -> None:
    """Repairs fairseq and registers everything; doing so again is harmless."""
    from fairseq_mos import compat

    compat.apply()
    import fairseq_mos.criterions
    import fairseq_mos.models.mos_subnet
    import fairseq_mos.models.mos_transformer
    import fairseq_mos.tasks.supernet_translation  # noqa: F401


if not _OUR_COMMAND:
    register()
