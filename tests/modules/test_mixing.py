"""Kernels that torch.compile makes, against the plain ones; those against autograd: tests/modules/test_in_place.py."""

from __future__ import annotations

import itertools

import pytest
import torch

from fairseq_mos.errors import UserError
from fairseq_mos.modules import mixing


@pytest.mark.parametrize("kind", ["layer", "neuron", "none"])
def test_fused_kernels(kind):
    """Mixes with and without a scale, into new gradients and added to old ones, at two sizes.

    What a compiler makes of them is in tests/tasks/test_fused_mixing.py.
    """
    torch.manual_seed(1)
    fused = mixing.fused("cpu", "aot_eager")
    weight = torch.randn(1 if kind == "none" else 2, 7, 6, dtype=torch.double)
    for rows, columns, scaled, add in itertools.product((5, 7), (4, 6), (kind == "none", True), (False, True)):
        active, product = weight[:, :rows, :columns], torch.randn(rows, columns, dtype=torch.double)
        mix = None if kind == "none" else torch.rand(*(rows,) * (kind == "neuron"), 2).double().softmax(-1)
        scale = torch.rand(rows, dtype=torch.double) if scaled else None
        torch.testing.assert_close(fused.mixed(active, mix, scale), mixing.PLAIN.mixed(active, mix, scale))
        found = []
        for kernels in (fused, mixing.PLAIN):
            target = torch.ones_like(weight)
            arguments = product, active, mixing.factors_of(mix, scale), target[:, :rows, :columns], add
            found.append((kernels.spread(*arguments), target))
        torch.testing.assert_close(*found)
    assert fused.mixed(weight, None, None).data_ptr() == weight.data_ptr()


def test_without_a_compiler(monkeypatch):
    def compile(call, **options):
        def fail(*arguments):
            raise RuntimeError("no compiler\nfound")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    mixing.fused.cache_clear()
    with pytest.raises(UserError, match=r"--fused-mixing needs torch.compile, .*\(RuntimeError: no compiler found\)"):
        mixing.fused("cpu")
    mixing.fused.cache_clear()
