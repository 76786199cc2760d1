"""Peak memory of training and of decoding: estimated on the `meta` device, and measured on this machine.

The estimate runs the very same steps on tensors without storage while torch's memory tracker adds up what they
would take: it needs neither the memory nor the time, so a WMT model's training can be estimated on a laptop.
Both are what torch allocates for tensors; the process itself (Python, libraries, CUDA context) comes on top.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from fairseq_mos.cost.measured import Padding
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of_model


@dataclass(frozen=True)
class MemorySettings:
    """What is run.

    Attributes:
        source_tokens: source length.
        target_tokens: target length, and decoder steps.
        beam: beam width of decoding one sentence.
        max_tokens: tokens of a training batch, as in `fairseq-train --max-tokens`.

    Raises:
        UserError: a batch that holds no sentence.
    """

    source_tokens: int = 30
    target_tokens: int = 30
    beam: int = 5
    max_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.sentences < 1:
            longest = max(self.source_tokens, self.target_tokens)
            raise UserError(f"--max-tokens is {self.max_tokens}, allowed: {longest} or more (one sentence)")

    @property
    def sentences(self) -> int:
        """Sentences of a training batch."""
        return self.max_tokens // max(self.source_tokens, self.target_tokens)


@dataclass(frozen=True)
class Memory:
    """Peak memory in bytes, weights included.

    Attributes:
        training: one update in fp32 with Adam: weights, gradients, both moments and activations.
        decoding: encoding one sentence and incremental decoding at beam width, in fp32.
    """

    training: int
    decoding: int

    def to_dict(self, prefix: str) -> dict[str, int]:
        """Returns `PREFIX_training_bytes` and `PREFIX_decoding_bytes`."""
        return {f"{prefix}_{name}_bytes": value for name, value in asdict(self).items()}


def estimate(model: nn.Module, settings: MemorySettings) -> Memory:
    """Estimates peak memory without allocating it.

    What kernels allocate inside, such as the workspace of a matrix product, is not seen.

    Args:
        model: a dense model on any device; it is left as it is.
        settings: what to run.
    """
    from torch.distributed._tools.mem_tracker import MemTracker

    def peak(shadow: nn.Module, step: Callable[..., None], optimizer) -> int:
        tracker = MemTracker()
        tracker.track_external(shadow, *([optimizer] if optimizer else []))
        with tracker:
            # It refuses to track a module's second call unless it may forget the first one.
            step(tracker.reset_mod_stats)
        return max(parts["Total"] for parts in tracker.get_tracker_snapshot("peak").values())

    with Padding(False):
        return _run(model, settings, "meta", peak)


def measure(model: nn.Module, settings: MemorySettings, device: str = "cpu") -> Memory:
    """Measures peak memory: by torch's profiler on the CPU, by the CUDA allocator's counter on a GPU.

    Args:
        model: a dense model; a copy is run.
        settings: what to run.
        device: `cpu` or `cuda`.
    """
    return _run(model, settings, device, _cuda_peak if device == "cuda" else _cpu_peak)


def _run(model: nn.Module, settings: MemorySettings, device: str, peak: Callable) -> Memory:
    from fairseq.optim.adam import Adam

    family = family_of_model(model)
    shadow = copy.deepcopy(model).to(device).eval()
    # A first step of either makes what stays: caches of positions, the moments of Adam.
    with torch.inference_mode(device != "meta"), torch.no_grad():
        decode = family.decoding(shadow, settings, device)
        decode()
        decoding = peak(shadow, decode, None)
    shadow.train().requires_grad_(True)
    optimizer = Adam(shadow.parameters(), lr=1e-9)
    update = family.update(shadow, optimizer, settings, device)
    update()
    optimizer.zero_grad()
    return Memory(peak(shadow, update, optimizer), decoding)


def _held(model: nn.Module, optimizer) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    if optimizer is not None:
        for values in optimizer.state.values():
            tensors += [value for value in values.values() if isinstance(value, torch.Tensor)]
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())


def _cpu_peak(model: nn.Module, step: Callable[..., None], optimizer) -> int:
    # Without it the profiler reports its own start and stop on stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from torch.profiler import ProfilerActivity, profile

    held = _held(model, optimizer)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = held
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def _cuda_peak(model: nn.Module, step: Callable[..., None], optimizer) -> int:
    # Other models of the process do not belong to this one's peak.
    others = torch.cuda.memory_allocated() - _held(model, optimizer)
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - others
