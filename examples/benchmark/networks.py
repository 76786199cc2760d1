"""The networks that benchmarks compare: supernets, and fairseq's own transformers of their subnets' dimensions."""

from __future__ import annotations

import contextlib
import io
import random
import sys
from pathlib import Path
from types import SimpleNamespace

from alternating import ROOT

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


def write_data(folder: Path, words: int, sentences: int) -> Path:
    """Writes and binarises generated sentences of 5 to 25 words."""
    rng = random.Random(1)
    for split, count in (("train", 2 * words // 10), ("valid", sentences)):
        for side in "ab":
            lines = (" ".join(f"w{rng.randrange(words)}" for _ in range(rng.randint(5, 25))) for _ in range(count))
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    (folder / "dict.txt").write_text("".join(f"w{index} 1\n" for index in range(words)))
    command = ["fairseq-preprocess", "-s", "a", "-t", "b", "--destdir", str(folder / "bin"), "--joined-dictionary"]
    command += ["--srcdict", str(folder / "dict.txt")]
    command += ["--trainpref", str(folder / "train"), "--validpref", str(folder / "valid")]
    call("fairseq_cli.preprocess", command)
    return folder / "bin"


def training(search_space: str, routing: str) -> list[str]:
    """Returns fairseq-train's flags for a supernet, without its size of batches and its length."""
    flags = ["--user-dir", str(ROOT / "fairseq_mos"), "--task", "supernet_translation", "--arch", "mos_transformer"]
    flags += ["--search-space", search_space, "--routing", routing, "--share-all-embeddings", "--disable-validation"]
    flags += ["--criterion", "supernet_label_smoothed_cross_entropy", "--label-smoothing", "0.1"]
    return [*flags, "--optimizer", "adam", "--lr", "1e-4"]


def write_supernet(folder: Path, data: Path, search_space: str, routing: str) -> Path:
    """Trains for one update, which is the simplest way to a whole checkpoint."""
    command = ["fairseq-train", str(data), *training(search_space, routing), "--max-update", "1", "--max-tokens", "512"]
    command += ["--cpu", "--save-dir", str(folder / "supernet")]
    call("fairseq_cli.train", command)
    return folder / "supernet" / "checkpoint_last.pt"


def call(module: str, command: list[str]) -> None:
    """Runs one of fairseq's commands in this process, silently."""
    import importlib

    before, sys.argv = sys.argv, command
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(module).cli_main()
    finally:
        sys.argv = before
