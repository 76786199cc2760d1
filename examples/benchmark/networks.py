"""The networks that benchmarks compare: supernets, and fairseq's own transformers of their subnets' dimensions."""

from __future__ import annotations

from types import SimpleNamespace

# Embed width, feed-forward width and decoder layers of the largest, of one between and of the smallest.
SETTINGS = {
    "wmt": {"layers": 6, "heads": 8, "vocabulary": 32768, "sizes": [(640, 3072, 6), (640, 2048, 3), (512, 1024, 1)]},
    "small": {"layers": 3, "heads": 4, "vocabulary": 8000, "sizes": [(192, 768, 3), (192, 512, 2), (128, 256, 1)]},
}
CONTESTANTS = {
    "shared": {"routing": "shared"},
    "layer": {"routing": "layer"},
    "neuron": {"routing": "neuron"},
    "modulation": {"routing": "shared", "modulation": "all"},
    "neuron, all": {"routing": "neuron", "expert_scope": "all"},
    "low-rank": {"routing": "low-rank"},
}
SUBNETS = ("largest", "between", "smallest")


def made_up_task(setting: dict) -> SimpleNamespace:
    """Returns what building a model needs of a task: a joined dictionary."""
    from fairseq_mos.families.translation.texts import made_up_dictionary

    dictionary = made_up_dictionary(setting["vocabulary"])
    return SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)


def search_space(setting: dict):
    """Returns a space that holds the setting's architectures."""
    from fairseq_mos.arch import SearchSpace

    widths, ffn, layers = (sorted(set(column), reverse=True) for column in zip(*setting["sizes"]))
    side = {"embed_dim": widths, "ffn_dims": ffn, "self_attention_heads": [setting["heads"]]}
    decoder = {"layers": layers, "cross_attention_heads": [setting["heads"]], "arbitrary_attention": [-1]}
    encoder = {**side, "layers": [setting["layers"]]}
    return SearchSpace.from_dict(
        {"name": "benchmark", "qkv_dim": "embed", "encoder": encoder, "decoder": {**side, **decoder}}
    )


def architectures(space, setting: dict) -> dict:
    """Returns the subnets by name."""
    from fairseq_mos.arch import Architecture

    found = {}
    for name, (width, ffn, layers) in zip(SUBNETS, setting["sizes"]):
        fields = space.largest().to_dict()
        for side, count in (("encoder", setting["layers"]), ("decoder", layers)):
            own = fields[side]
            own["embed_dim"] = width
            for key in (key for key, value in own.items() if isinstance(value, list)):
                own[key] = [ffn if key == "ffn_dims" else own[key][0]] * count
            if "layers" in own:
                own["layers"] = count
        found[name] = Architecture.from_dict(fields)
        space.validate(found[name])
    return found


def stock_model(setting: dict, size: tuple[int, int, int], task, dropout: float):
    """Builds fairseq's own transformer."""
    from fairseq.models.transformer import TransformerConfig, TransformerModelBase

    cfg = TransformerConfig()
    width, ffn, layers = size
    for stack, count in ((cfg.encoder, setting["layers"]), (cfg.decoder, layers)):
        stack.embed_dim, stack.ffn_embed_dim, stack.layers, stack.attention_heads = width, ffn, count, setting["heads"]
    cfg.decoder.input_dim = cfg.decoder.output_dim = width
    cfg.dropout, cfg.share_all_embeddings = dropout, True
    cfg.max_source_positions = cfg.max_target_positions = 1024
    return TransformerModelBase.build_model(cfg, task)


def supernet_model(name: str, space, task, dropout: float, num_experts: int):
    """Builds a supernet by its name in :data:`CONTESTANTS`."""
    from fairseq_mos.models.config import MosTransformerConfig
    from fairseq_mos.models.mos_transformer import MosTransformer

    options = {**CONTESTANTS[name]}
    if options["routing"] != "shared":
        options["num_experts"] = num_experts
    cfg = MosTransformerConfig(
        search_space_definition=space.to_json(), share_all_embeddings=True, dropout=dropout, **options
    )
    return MosTransformer.build_model(cfg, task)
