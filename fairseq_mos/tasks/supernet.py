"""What the tasks of all families do with a supernet: several architectures per update, one after the other.

No postponed annotations here: fairseq reads the field types at run time.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import product
from typing import Optional

import torch
from fairseq.distributed.utils import get_global_rank, get_global_world_size
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig, open_dict

from fairseq_mos.arch.select import resolve
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.fields import check_fields
from fairseq_mos.models.definitions import embed_in_config, root_config
from fairseq_mos.modules import mixing
from fairseq_mos.modules.dropout import without_dropout
from fairseq_mos.modules.in_place import gradients_in_place
from fairseq_mos.modules.router_warmup import drop_gradients
from fairseq_mos.sampling.dealing import Dealer
from fairseq_mos.sampling.strategies import Sampled, Sampler
from fairseq_mos.tasks import options

logger = logging.getLogger(__name__)

# The others reduce gradients once per backward pass, and an update of ours has several.
_DDP_BACKENDS = ("legacy_ddp", "no_c10d")

# Of a batch, whatever the architecture.
_SIZES = ("ntokens", "nsentences", "sample_size")


class SupernetTask:
    """Mixed into a task of fairseq, with the active architecture of a supernet under its control.

    Each update runs forward and backward for one architecture after the other, so memory does not grow with
    their number. Gradients add up and are divided by the total number of tokens of all architectures
    (MoS, section 4, sandwich training).
    """

    supernet = ""
    """A supernet's named architecture, for messages."""
    stock = ""
    """fairseq's own task of the family."""
    role_losses: Mapping[str, str] = {}
    """What is logged of each architecture, with the size that it is divided by."""

    def begin(self, kind: type) -> None:
        """Checks the options, a `kind`, at the end of construction."""
        check_fields(self.cfg, kind)
        options.check(self.cfg)
        self.pinned = None
        self._kernels = mixing.PLAIN
        self._sampler: Optional[Sampler] = None
        self._sampled: Optional[tuple[int, list[Sampled]]] = None
        self._roles: set[str] = set()
        self._dealer: Optional[Dealer] = None

    def definitions(self) -> dict[str, object]:
        """Returns options of the task that fairseq finds out anew each time, and a checkpoint needs."""
        return {}

    def build_model(self, cfg, from_checkpoint=False):
        """Builds the model and activates the pinned architecture, if there is one.

        Raises:
            UserError: the model is no supernet, or an architecture is not in its space.
        """
        _check_distributed(root_config(cfg))
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "activate"):
            if self.cfg.architecture or not from_checkpoint:
                raise UserError(
                    f"task supernet_{self.stock} needs a supernet (--arch {self.supernet}_...): use "
                    f"--task {self.stock}, without --architecture, for other models"
                )
            return model
        if not from_checkpoint:
            embed_in_config(cfg, "task", **self.definitions())
            options.start_router_warmup(self.cfg, model)
            self._dealer = _dealer(self.cfg, root_config(cfg))
            if self.cfg.fused_mixing:
                self._kernels = mixing.fused(_device(root_config(cfg)))
        listed = self._sampler_of(model.space).options.listed
        if listed and not from_checkpoint:
            # The checkpoint should hold the architectures, not the name of a file that may move.
            embed_in_config(cfg, "task", arch_list=f"[{','.join(arch.to_json() for arch in listed)}]")
        if self.cfg.architecture:
            self.pinned = resolve(model.space, self.cfg.architecture)
            model.activate(self.pinned)
            if not from_checkpoint:
                embed_in_config(cfg, "task", architecture=self.pinned.to_json())
        return model

    def build_criterion(self, cfg):
        """Builds the criterion.

        Raises:
            UserError: distillation without a largest architecture to distil from, on the same batch.
        """
        criterion = super().build_criterion(cfg)
        if self._distils(criterion) and self.cfg.arch_sampling != "sandwich":
            raise UserError("--inplace-distillation needs --arch-sampling sandwich")
        if self._distils(criterion) and self.cfg.arch_own_batches:
            raise UserError("--inplace-distillation does not go with --arch-own-batches: the largest has other batches")
        return criterion

    @staticmethod
    def _distils(criterion) -> bool:
        return getattr(criterion, "inplace_distillation", 0) > 0

    def architectures(self, space, update_num: int) -> list[Sampled]:
        """Returns what update `update_num` trains."""
        if self.pinned is not None:
            return [Sampled("pinned", self.pinned)]
        if self._sampled is None or self._sampled[0] != update_num:
            self._sampled = (update_num, self._sampler_of(space).of_update(update_num))
        return self._sampled[1]

    def _sampler_of(self, space) -> Sampler:
        if self._sampler is None:
            self._sampler = options.sampler(self.cfg, space, self.cfg.seed)
        return self._sampler

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """Runs forward and backward for each architecture of the update, or for the one whose batch it is.

        Returns:
            The summed loss, the sample size (of all architectures together, or of one with `--arch-gradient sum`)
            and the logging output: means over the architectures, and the losses of the largest, the smallest and the
            random ones, without weights.
        """
        drawn = self.architectures(model.space, update_num)
        if self._dealer and self.pinned is None:
            sampled = [drawn[self._dealer.next(update_num)]]
        else:
            sampled = drawn
        distil = self._distils(criterion) and len(sampled) > 1
        steps, teacher = [], None
        parameters = list(model.parameters())
        earlier = _set_gradients_aside(parameters)
        for role, architecture in sampled:
            model.activate(architecture)
            step_criterion = criterion
            if distil:
                weight = criterion.inplace_weight(update_num)
                largest = role == "largest"
                step_criterion = partial(criterion, teacher=teacher, keep_teacher=largest, weight=weight)
            if self.cfg.loss_weight_by_cost and self.pinned is None:
                step_criterion = _weighted(step_criterion, self._cost_weight(model.space, architecture))
            with self._dropout(role, model), gradients_in_place(self._kernels):
                step = super().train_step(sample, model, step_criterion, optimizer, update_num, ignore_grad)
            if distil and role == "largest":
                teacher = criterion.release_teacher()
            steps.append((role, *step))
        _complete_gradients(parameters, earlier)
        if update_num < self.cfg.router_warmup:
            drop_gradients(model)
        loss = sum(loss.detach() for _, loss, _, _ in steps)
        sizes = [size for _, _, size, _ in steps]
        size = sizes[0] if self.cfg.arch_gradient == "sum" else sum(sizes)
        # Random ones are others at each update: one curve is enough.
        logs = [(_curve(role), log) for role, _, _, log in steps]
        return loss, size, self._merge(logs, [_curve(role) for role, _ in drawn])

    def _cost_weight(self, space, architecture) -> float:
        flops = family_of(space).flops
        return (flops(architecture) / flops(space.largest())) ** self.cfg.loss_weight_by_cost

    def _dropout(self, role: str, model) -> AbstractContextManager:
        if self.cfg.student_dropout == "off" and role not in ("largest", "pinned"):
            return without_dropout(model)
        return nullcontext()

    def valid_step(self, sample, model, criterion):
        """Measures the representative architectures (or the pinned one); what the task adds on the first alone."""
        if not hasattr(model, "activate"):
            return super().valid_step(sample, model, criterion)
        sampled = [Sampled("pinned", self.pinned)]
        if self.pinned is None:
            sampled = self._sampler_of(model.space).representatives(self.cfg.num_valid_archs)
        logs, added = [], {}
        for i, (role, architecture) in enumerate(sampled):
            model.activate(architecture)
            if i == 0:
                loss, sample_size, log = super().valid_step(sample, model, criterion)
                added = {name: log.pop(name) for name in list(log) if name.startswith("_")}
            else:
                _, _, log = FairseqTask.valid_step(self, sample, model, criterion)
            logs.append((role, log))
        return loss, sample_size, {**self._merge(logs), **added}

    def _merge(self, logs: list[tuple[str, dict]], roles: Sequence[str] = ()) -> dict:
        """Merges logging outputs on one batch: means over architectures, and sums of each role's losses and sizes.

        Roles without a batch have zeros: fairseq adds up what all batches of an update have.
        """
        merged = dict(logs[0][1])
        for name in merged:
            if name not in _SIZES and all(_is_number(log.get(name)) for _, log in logs):
                merged[name] = sum(log[name] for _, log in logs) / len(logs)
        first = logs[0][1]
        # In the same order and of the same types on every rank: they add up what they log by its place.
        names = dict.fromkeys(name for pair in self.role_losses.items() for name in pair if pair[0] in first)
        nothing = {name: torch.zeros_like(first[name]) if torch.is_tensor(first[name]) else 0 for name in names}
        for role, log in [*((role, nothing) for role in roles), *logs]:
            self._roles.add(role)
            for name in names:
                before = merged.get(f"{role}_{name}")
                merged[f"{role}_{name}"] = log[name] if before is None else before + log[name]
        return merged

    def reduce_metrics(self, logging_outputs, criterion):
        """Logs what the criterion does and, per role, `ROLE_loss` and the like (base 2)."""
        super().reduce_metrics(logging_outputs, criterion)
        for role, (loss, size) in product(sorted(self._roles), self.role_losses.items()):
            total, count = (sum(log.get(f"{role}_{name}", 0) for log in logging_outputs) for name in (loss, size))
            if count > 0:
                metrics.log_scalar(f"{role}_{loss}", total / count / math.log(2), count, priority=900, round=3)


def _curve(role: str) -> str:
    return "random" if role.startswith("random") else role


def _weighted(criterion, weight: float):
    """Returns the criterion with its loss, but not what it logs, multiplied by `weight`."""

    def call(model, sample):
        loss, size, log = criterion(model, sample)
        return loss * weight, size, log

    return call


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) or (torch.is_tensor(value) and value.numel() == 1)


def _set_gradients_aside(parameters: Sequence[torch.Tensor]) -> list[Optional[torch.Tensor]]:
    """Takes away the gradients of earlier micro-batches (`--update-freq`).

    So the architectures' gradients of each micro-batch are added up first, as on a rank of its own: floating
    point addition depends on the order, and Adam turns the rounding noise of parameters whose gradient
    is zero in theory (the keys' biases) into visible steps.
    """
    earlier = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return earlier


def _complete_gradients(parameters: Sequence[torch.Tensor], earlier: list[Optional[torch.Tensor]]) -> None:
    """Adds the earlier gradients, and gives parameters that no architecture used a zero gradient.

    On several ranks and with flattened fp16, fairseq does the latter itself; without it, one process would
    leave Adam's momentum of such parameters alone and end elsewhere.
    """
    for parameter, before in zip(parameters, earlier):
        if not parameter.requires_grad:
            continue
        if before is not None:
            parameter.grad = before if parameter.grad is None else before.add_(parameter.grad)
        elif parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def _dealer(cfg: options.SupernetTaskConfig, root: Optional[DictConfig]) -> Optional[Dealer]:
    optimization = root.get("optimization") if root is not None else None
    update_freq = [1] if optimization is None else optimization.update_freq
    return options.dealer(cfg, update_freq, get_global_rank(), get_global_world_size())


def _device(root: Optional[DictConfig]) -> str:
    cpu = root is not None and root.get("common") is not None and root.common.cpu
    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"


def _check_distributed(root: Optional[DictConfig]) -> None:
    distributed = root.get("distributed_training") if root is not None else None
    if distributed is None or distributed.distributed_world_size <= 1:
        return
    if distributed.ddp_backend == "pytorch_ddp":
        # fairseq's default, which nobody has asked for by name.
        logger.info("using --ddp-backend legacy_ddp: a supernet update has several backward passes")
        with open_dict(root):
            distributed.ddp_backend = "legacy_ddp"
    if distributed.ddp_backend not in _DDP_BACKENDS:
        raise UserError(
            f"--ddp-backend {distributed.ddp_backend} does not fit a supernet, whose updates have several "
            f"backward passes; allowed: {', '.join(_DDP_BACKENDS)}"
        )
