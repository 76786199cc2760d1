"""`--user-dir` by another name than the package's."""

from __future__ import annotations

import shutil
import sys

from tests.fairseq_commands import ROOT, environment, run

IMPORT = """
import sys
from argparse import Namespace
from fairseq import utils
utils.import_user_module(Namespace(user_dir="plug"))
utils.import_user_module(Namespace(user_dir="plug"))
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
import fairseq_mos
assert sys.modules["plug"] is fairseq_mos
assert sys.modules["plug.tasks.supernet_translation"] is fairseq_mos.tasks.supernet_translation
assert TASK_REGISTRY["supernet_translation"].__module__ == "fairseq_mos.tasks.supernet_translation"
print(ARCH_MODEL_REGISTRY["mos_transformer_tiny"].__module__, fairseq_mos.__file__)
"""


def imported(folder, check: bool = True):
    """Imports `plug` in `folder` as fairseq does; our checkout is not on the path."""
    path = {"PYTHONPATH": environment()["PYTHONPATH"].replace(str(ROOT), str(folder / "nowhere"))}
    return run([sys.executable, "-c", IMPORT], folder, check, **path)


def test_a_link_of_another_name(tmp_path):
    (tmp_path / "plug").symlink_to(ROOT / "fairseq_mos")
    done = imported(tmp_path)
    assert done.stdout.splitlines()[-1].startswith("fairseq_mos.models.mos_transformer ")


def test_a_renamed_copy_says_what_it_must_be_called(tmp_path):
    shutil.copytree(ROOT / "fairseq_mos", tmp_path / "plug", ignore=shutil.ignore_patterns("__pycache__"))
    done = imported(tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"fairseq-mos: error: --user-dir: {tmp_path / 'plug'} must be called fairseq_mos, or be a link to it"
    )
    assert "Traceback" not in done.stderr
