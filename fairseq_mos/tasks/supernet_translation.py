"""Translation with a supernet: several architectures per update, one after the other.

No postponed annotations here: fairseq reads the field types at run time.
"""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import II

from fairseq_mos.tasks.options import SupernetTaskConfig
from fairseq_mos.tasks.supernet import SupernetTask


@dataclass
class SupernetTranslationConfig(SupernetTaskConfig, TranslationConfig):
    """Options of the task."""

    seed: int = II("common.seed")


@register_task("supernet_translation", dataclass=SupernetTranslationConfig)
class SupernetTranslation(SupernetTask, TranslationTask):
    """fairseq's translation task for supernets, see :class:`SupernetTask`."""

    supernet, stock = "mos_transformer", "translation"
    role_losses = {"loss": "sample_size", "nll_loss": "ntokens"}

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.begin(SupernetTranslationConfig)

    def definitions(self):
        # The dictionaries of a checkpoint are found by them.
        return {"source_lang": self.cfg.source_lang, "target_lang": self.cfg.target_lang}
