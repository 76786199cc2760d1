"""fairseq-mos: Mixture-of-Supernets as a fairseq plugin; the entry of `--user-dir fairseq_mos`.

Importing it repairs the installed fairseq (:mod:`fairseq_mos.compat`) and registers models, tasks and
criterions. Only our own command (`fairseq-mos VERB`) delays that until it needs a model, because importing
fairseq takes seconds and `--help` should not.
"""

import sys
from importlib import import_module
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


def _import_under_our_name() -> None:
    """Makes `--user-dir LINK`, a link of another name to this folder, mean this package.

    fairseq imports the folder by the link's name, and then each module of its tasks and models: they would all be
    executed twice, and registered twice.
    """
    folder = Path(__file__).resolve().parent
    if folder.name != "fairseq_mos":
        line = f"--user-dir: {folder} must be called fairseq_mos, or be a link to it"
        print(f"fairseq-mos: error: {line}", file=sys.stderr)
        raise SystemExit(2)
    if "fairseq_mos" not in sys.modules:
        sys.path.insert(0, str(folder.parent))
    import_module("fairseq_mos").register()
    for name, module in list(sys.modules.items()):
        if name == "fairseq_mos" or name.startswith("fairseq_mos."):
            sys.modules[__name__ + name[len("fairseq_mos") :]] = module


if __name__ != "fairseq_mos":
    _import_under_our_name()
elif not _OUR_COMMAND:
    register()
