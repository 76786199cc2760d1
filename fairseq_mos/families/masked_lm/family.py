"""The family of masked language models, for the rest of the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.costs import Cost
from fairseq_mos.families.base import DrawnLayer, DrawnStack, Family
from fairseq_mos.families.masked_lm import costs, features
from fairseq_mos.families.masked_lm.schema import SCHEMA, layers


class MaskedLM(Family):
    """Encoders that predict masked tokens: BERT and RoBERTa."""

    schema = SCHEMA
    mean_names = features.MEAN_NAMES
    models = ("mos_roberta", "mos_roberta_subnet", "roberta")

    def sizing(self, **options) -> costs.Sizing:
        return costs.Sizing(**options)

    def sizing_of(self, model) -> costs.Sizing:
        encoder = model.encoder.sentence_encoder
        apart = getattr(getattr(model, "cfg", None), "bottlenecks", "merged") == "apart"
        return costs.Sizing(
            vocabulary=len(model.encoder.dictionary),
            positions=len(encoder.embed_positions.weight),
            normalize_before=encoder.layer_norm is not None,
            merged=not apart,
        )

    def costs(self, arch: Architecture, sizing: costs.Sizing) -> Iterator[Cost]:
        return costs.costs(arch, sizing)

    def counts(self, arch: Architecture, sizing: costs.Sizing | None = None) -> dict[str, int]:
        return {**super().counts(arch, sizing), "params_budget": costs.published(arch)}

    def products(self, means: Sequence[float], depths: Sequence[int]) -> list[float]:
        return features.products(means)

    def drawing(self, arch: Architecture) -> list[DrawnStack]:
        heads = arch.encoder.attention_heads
        found = []
        for sizes in layers(arch, merged=False):
            words = f"{heads} heads" + (f", width {sizes.width}" if sizes.entry else "")
            found.append(DrawnLayer(sizes.ffn_dim, heads, words))
        return [DrawnStack("encoder", arch.encoder.embed_dim, found)]

    def facts(self, config, weights):
        from fairseq_mos.models.masked_lm import TABLE

        table = weights.get(TABLE)
        share, whole = config("task", "mask_prob", 0.15), config("task", "mask_whole_words")
        return {
            "dictionary": "" if table is None else f"{len(table):,} entries",
            "masked": f"{share:.0%} of the tokens" + (", whole words" if whole else ""),
            "longest input": f"{config('model', 'max_positions', '?')} tokens",
        }

    def update(self, model, optimizer, settings, device):
        return _workload().update(model, optimizer, settings, device)

    def run(self, model, source_tokens, target_tokens, output_layer):
        _workload().run(model, source_tokens, output_layer)

    def embeddings(self, model):
        return _workload().embeddings(model)

    def vocabulary(self, model):
        return len(model.encoder.dictionary)

    def random(self, vocabulary, share):
        from fairseq_mos.families.masked_lm.texts import made_up_dictionary
        from fairseq_mos.models.masked_lm_config import MosRobertaSubnetConfig
        from fairseq_mos.models.mos_roberta_subnet import MosRobertaSubnet

        dictionary, cfg = made_up_dictionary(vocabulary), MosRobertaSubnetConfig(max_positions=512)
        return lambda architecture: MosRobertaSubnet.from_dictionary(cfg, dictionary, architecture, merged=True).eval()

    def evaluator(self, opened, data, split, max_tokens, cpu, precision):
        from fairseq_mos.families.masked_lm.evaluator import MaskedLMEvaluator

        return MaskedLMEvaluator(opened, data, split, max_tokens, cpu, precision)

    def texts(self):
        from fairseq_mos.families.masked_lm.texts import MaskedLMTexts

        return MaskedLMTexts

    def parts(self):
        from fairseq.criterions.masked_lm import MaskedLmConfig
        from fairseq.tasks.masked_lm import MaskedLMConfig

        from fairseq_mos.models.masked_lm_config import MosRobertaSubnetConfig

        return {
            "model": ("mos_roberta_subnet", MosRobertaSubnetConfig),
            "task": ("masked_lm", MaskedLMConfig),
            "criterion": ("masked_lm", MaskedLmConfig),
        }

    def task(self, dictionaries, weights, where, options=None):
        from fairseq_mos.families.masked_lm.texts import task_of

        return task_of(dictionaries, weights, where)

    def network(self, options, task, architecture):
        from fairseq_mos.models.mos_roberta_subnet import MosRobertaSubnet

        options.max_positions = task.max_positions()
        return MosRobertaSubnet.from_dictionary(
            options, task.source_dictionary, architecture, options.bottlenecks == "merged"
        )

    def probe(self):
        from fairseq_mos.families.masked_lm import probe

        return probe

    def card(self, bundle):
        from fairseq_mos.families.masked_lm.card import model_card

        return model_card(bundle)


def _workload():
    from fairseq_mos.families.masked_lm import workload

    return workload


FAMILY = MaskedLM()
