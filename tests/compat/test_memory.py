"""Freed memory stays with a process that computes on a CPU."""

from __future__ import annotations

import sys

import pytest

from tests.fairseq_commands import ROOT, run

SCRIPT = """
import resource, types, sys
package = types.ModuleType("fairseq_mos"); package.__path__ = [{package!r}]; sys.modules["fairseq_mos"] = package
import torch
from fairseq_mos.compat.memory import keep_freed_memory
print(keep_freed_memory() if {apply} else None)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(48 * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for _ in range(40):  # until the heap has taken shape around them
    faults()
print(sum(faults() for _ in range(10)))
"""
PAGES = 10 * 48 * 2**20 // 4096


def faults(tmp_path, apply: bool, **variables: str) -> tuple[str, int]:
    code = SCRIPT.format(package=str(ROOT / "fairseq_mos"), apply=apply)
    told, count = run([sys.executable, "-c", code], tmp_path, **variables).stdout.split()
    return told, int(count)


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> int:
    told, count = faults(tmp_path_factory.mktemp("memory"), apply=False)
    if count < PAGES // 2:
        pytest.skip("this C library keeps freed memory by itself, or has large pages")
    return count


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')", reason="about glibc")
def test_a_tensor_gets_the_pages_of_the_one_before(tmp_path, without):
    told, count = faults(tmp_path, apply=True)
    assert told == "True" and count < without // 100


def test_settings_of_the_user_stay(tmp_path):
    assert faults(tmp_path, apply=True, MALLOC_ARENA_MAX="4")[0] == "False"
