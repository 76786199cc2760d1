"""The translation family, for the rest of the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.costs import Cost
from fairseq_mos.families.base import DrawnLayer, DrawnStack, Family
from fairseq_mos.families.translation import costs, features
from fairseq_mos.families.translation.schema import SCHEMA, memory_states


class Translation(Family):
    """Encoder-decoder models that translate."""

    schema = SCHEMA
    mean_names = features.MEAN_NAMES
    models = ("mos_transformer", "mos_subnet", "transformer")

    def sizing(self, **options) -> costs.Sizing:
        return costs.Sizing(**options)

    def sizing_of(self, model) -> costs.Sizing:
        cfg = model.cfg
        shared_output = "decoder" if cfg.share_decoder_input_output_embed else "none"
        return costs.Sizing(
            source_vocabulary=len(model.encoder.dictionary),
            target_vocabulary=len(model.decoder.dictionary),
            share="all" if cfg.share_all_embeddings else shared_output,
            normalize_before=(bool(cfg.encoder_normalize_before), bool(cfg.decoder_normalize_before)),
            normalize_embedding=bool(cfg.layernorm_embedding),
        )

    def costs(self, arch: Architecture, sizing: costs.Sizing) -> Iterator[Cost]:
        return costs.costs(arch, sizing)

    def products(self, means: Sequence[float], depths: Sequence[int]) -> list[float]:
        return features.products(means, depths[-1])

    def drawing(self, arch: Architecture) -> list[DrawnStack]:
        encoder, decoder = arch.encoder, arch.decoder
        found = []
        for name, sizes in (("encoder", encoder), ("decoder", decoder)):
            layers = []
            for index, (width, heads) in enumerate(zip(sizes.ffn_dims, sizes.self_attention_heads)):
                words = f"{heads} heads"
                if sizes is decoder:
                    words += f", cross {sizes.cross_attention_heads[index]}"
                    states = memory_states(sizes.arbitrary_attention[index])
                    words += f", last {states}" if states > 1 else ""
                layers.append(DrawnLayer(width, heads, words))
            found.append(DrawnStack(name, sizes.embed_dim, layers))
        return found

    def facts(self, config, weights):
        tables = [weights.get(f"{side}.embed_tokens.weight") for side in ("encoder", "decoder")]
        shared = "one table for encoder, decoder and output" if config("model", "share_all_embeddings") else (
            "decoder and output share a table" if config("model", "share_decoder_input_output_embed")
            else "separate tables"
        )  # fmt: skip
        return {
            "languages": f"{config('task', 'source_lang', '?')} to {config('task', 'target_lang', '?')}",
            "dictionaries": " and ".join(f"{len(table):,}" for table in tables if table is not None) + " entries",
            "embeddings": shared,
            "label smoothing": str(config("criterion", "label_smoothing", "")),
        }

    def steps(self, model, settings, inputs, seed):
        if settings.protocol == "hat":
            return _workload().hat(model, settings, seed)
        return _workload().generate(model, settings, inputs)

    def decoding(self, model, settings, device):
        return _workload().decoding(model, settings, device)

    def update(self, model, optimizer, settings, device):
        return _workload().update(model, optimizer, settings, device)

    def run(self, model, source_tokens, target_tokens, output_layer):
        _workload().run(model, source_tokens, target_tokens, output_layer)

    def embeddings(self, model):
        return _workload().embeddings(model)

    def tables(self, model):
        return _workload().tables(model)

    def sentences(self, model, data, split, count):
        return _workload().read_sentences(model, data, split, count)

    def evaluator(self, opened, data, split, max_tokens, cpu, precision):
        from fairseq_mos.families.translation.evaluator import TranslationEvaluator

        return TranslationEvaluator(opened, data, split, max_tokens, cpu, precision)

    def read_csv(self, path, space, device):
        from fairseq_mos.families.translation.hat_csv import read_hat_csv

        return read_hat_csv(path, space, device)

    def texts(self):
        from fairseq_mos.families.translation.texts import TranslationTexts

        return TranslationTexts

    def parts(self):
        from fairseq.criterions import label_smoothed_cross_entropy
        from fairseq.tasks.translation import TranslationConfig

        from fairseq_mos.models.config import MosSubnetConfig

        criterion = label_smoothed_cross_entropy.LabelSmoothedCrossEntropyCriterionConfig
        return {
            "model": ("mos_subnet", MosSubnetConfig),
            "task": ("translation", TranslationConfig),
            "criterion": ("label_smoothed_cross_entropy", criterion),
        }

    def task(self, dictionaries, weights, where, options=None):
        from fairseq_mos.families.translation.texts import task_of

        return task_of(dictionaries, weights, where, options)

    def network(self, options, task, architecture):
        from fairseq_mos.models.mos_subnet import MosSubnet

        return MosSubnet.from_dictionaries(options, task.source_dictionary, task.target_dictionary, architecture)

    def probe(self):
        from fairseq_mos.families.translation import probe

        return probe

    def card(self, bundle):
        from fairseq_mos.families.translation.card import model_card

        return model_card(bundle)

    def vocabulary(self, model):
        return len(model.decoder.dictionary)

    def random(self, vocabulary, share):
        from fairseq_mos.families.translation.texts import made_up_dictionary
        from fairseq_mos.models.config import MosSubnetConfig
        from fairseq_mos.models.mos_subnet import MosSubnet

        dictionary = made_up_dictionary(vocabulary)
        options = {"share_all_embeddings": share == "all", "share_decoder_input_output_embed": share == "decoder"}
        cfg = MosSubnetConfig(**options)
        return lambda architecture: MosSubnet.from_dictionaries(cfg, dictionary, dictionary, architecture).eval()


def _workload():
    from fairseq_mos.families.translation import workload

    return workload


FAMILY = Translation()
