"""fairseq-mos: Mixture-of-Supernets as a fairseq plugin; the entry of `--user-dir fairseq_mos`.

Repairs of the installed fairseq (:mod:`fairseq_mos.compat`), models, tasks and criterions are made and registered as
soon as fairseq is imported: at once where it is already, as in its own commands. Until then nothing heavy is loaded,
so that search spaces and `--help` take no seconds.
"""

import sys
from importlib import import_module, util
from importlib.abc import MetaPathFinder
from pathlib import Path


def register() -> None:
    """Repairs fairseq and registers everything; doing so again is harmless."""
    from fairseq_mos import compat

    compat.apply()
    import fairseq_mos.criterions
    import fairseq_mos.models.mos_roberta
    import fairseq_mos.models.mos_transformer
    import fairseq_mos.tasks.supernet_masked_lm
    import fairseq_mos.tasks.supernet_translation  # noqa: F401


class _WithFairseq(MetaPathFinder):
    """Registers everything at the end of fairseq's own import."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "fairseq":
            return None
        sys.meta_path.remove(self)
        spec = util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module) -> None:
                execute(module)
                register()

            spec.loader.exec_module = execute_and_register
        return spec


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
else:
    import fairseq_mos.families  # noqa: F401  (the shapes of all families)

    if "fairseq" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _WithFairseq())
