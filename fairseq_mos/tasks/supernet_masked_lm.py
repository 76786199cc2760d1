"""Masked language modelling with a supernet: several architectures per update, one after the other.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from omegaconf import II

from fairseq_mos.tasks.options import SupernetTaskConfig
from fairseq_mos.tasks.supernet import SupernetTask


@dataclass
class SupernetMaskedLMConfig(SupernetTaskConfig, MaskedLMConfig):
    """Options of the task."""

    seed: int = II("common.seed")


@register_task("supernet_masked_lm", dataclass=SupernetMaskedLMConfig)
class SupernetMaskedLM(SupernetTask, MaskedLMTask):
    """fairseq's masked_lm task for supernets, see :class:`SupernetTask`.

    All architectures of an update see the same masks, and validation draws the same ones each time: fairseq's depend on
    seed, epoch and sentence alone, and validation is always epoch 1.
    """

    supernet, stock = "mos_roberta", "masked_lm"
    role_losses = {"loss": "sample_size"}

    def __init__(self, cfg, dictionary=None):
        super().__init__(cfg, dictionary)
        self.begin(SupernetMaskedLMConfig)
