"""Channel modulation: the architecture scales and shifts the output channels of leaves that all architectures share.

A small network per layer emits one number a channel, where experts would be whole matrices: feature-wise linear
modulation (FiLM, Perez et al. 2018) of weights by the architecture instead of activations by the input, and a smooth
form of the separate norms of slimmable networks (Yu et al. 2019). It ends in the dense weights.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.modules import in_place
from fairseq_mos.modules.kept import Elastic


class Modulated(Protocol):
    """A leaf, as far as its modulation needs to know it.

    Attributes:
        rows: active output channels.
        bias: of the leaf, or None.
    """

    rows: int
    bias: Tensor | None


class Modulation(Elastic):
    """Scales and shifts of the leaves of one layer, or of those of a stack that are in no layer.

    For leaf weights W and b, `W' = diag(1 + g) W` and `b' = b + s`: the bias is shifted and not scaled, in norms too.
    g and s come from a linear layer, ReLU and a linear layer of each leaf's own, over the architecture's encoding. The
    last one is zero at first, so that training starts as if there were none. There is no dropout.

    Args:
        encoding_dim: length of the architecture encoding.
        hidden_dim: hidden width, one hidden layer for all leaves.
    """

    def __init__(self, encoding_dim: int, hidden_dim: int):
        super().__init__()
        self.encoding: Tensor = torch.zeros(encoding_dim)
        self.hidden = nn.Linear(encoding_dim, hidden_dim)
        self.outputs = nn.ModuleDict()
        # How many numbers a channel gets: leaf -> scale alone, or scale and shift.
        self.numbers: dict[str, int] = {}
        # They are no submodules here.
        self.leaves: dict[str, Modulated] = {}
        # What the leaves of a layer have in common in a pass: empty once it has begun and until one is used. None: no
        # pass has begun, as for leaves that are in no layer.
        self._pass: dict[str, Tensor] | None = None

    def add(self, name: str, leaf: Modulated) -> None:
        """Makes ready for a leaf; its name is unique in its layer."""
        self.numbers[name] = 1 if leaf.bias is None else 2
        self.leaves[name] = leaf
        output = nn.Linear(self.hidden.out_features, leaf.rows * self.numbers[name])
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self.outputs[name] = output

    def activate(self, encoding: Tensor) -> None:
        """Sets the encoding."""
        self.encoding = encoding
        self.drop_kept()

    def begin(self) -> None:
        """Begins a pass through the layer."""
        self._pass = {}

    def drop_kept(self) -> None:
        self._pass = None
        super().drop_kept()

    def __getstate__(self):
        return {**super().__getstate__(), "_pass": None}

    def effect(self, name: str, rows: int) -> Tensor:
        """Returns g, and the shift s of a leaf with a bias, of its `rows` active output channels: (rows, 1 or 2)."""
        return self.materialised(lambda: self._compute(name, rows), key=name)

    def sources(self, key=None):
        output = self.outputs[key]
        return self.hidden.weight, self.hidden.bias, output.weight, output.bias

    def _compute(self, name: str, rows: int) -> Tensor:
        output = self.outputs[name]
        if self._pass is not None and in_place.wanted(output.weight):
            if name not in self._pass:
                self._pass.update(self._of_all())
            return self._pass[name]
        # They come channel by channel, so a narrower leaf uses the first of them.
        emitted = in_place.row(self._hidden(), output.weight, output.bias, (rows, self.numbers[name]))
        # Under autocast in half precision, where 1 + g would round g away.
        return emitted.to(output.weight.dtype)

    def _of_all(self) -> dict[str, Tensor]:
        """Returns what all leaves get, in one node of autograd's graph: a step asks for a few dozen of them."""
        outputs = self.outputs.items()
        layers = [(one.weight, one.bias, (self.leaves[name].rows, self.numbers[name])) for name, one in outputs]
        return dict(zip(self.outputs, in_place.rows(self._hidden(), layers)))

    def _hidden(self) -> Tensor:
        shared = self._pass is not None and torch.is_grad_enabled()
        if shared and "" in self._pass:
            return self._pass[""]
        hidden = F.relu(self.hidden(self.encoding.to(self.hidden.weight.dtype)))
        if shared:
            self._pass[""] = hidden
        return hidden
