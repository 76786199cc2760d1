"""A second family, in the tests alone: a tower of layers that gives every token one of a few tags."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, FairseqEncoder, register_model
from torch.nn import functional as F

from fairseq_mos.arch import Derived, Rule, Schema, SearchSpace, Stack, Trait
from fairseq_mos.arch.costs import Cost, attention, feed_forward, norm
from fairseq_mos.families.base import Family
from fairseq_mos.families.texts import Texts
from fairseq_mos.models.config import SupernetConfig
from fairseq_mos.models.supernet import Supernet, elastic_leaves
from fairseq_mos.modules import stack
from fairseq_mos.modules.block import Block
from fairseq_mos.modules.layers import EncoderLayer
from fairseq_mos.modules.leaves import DenseLeaves
from tests import toy

TAGS = 7
_FFN = Derived("ffn_dim", ("width", "ratio"), lambda width, ratio: int(width * ratio))
_RATIO = Trait("ratio", fraction=True, part="ffn")
SCHEMA = Schema(
    "tagger",
    (Stack("tower", (Trait("width"), _RATIO), (Trait("heads", part="self_attn"),), (_FFN,)),),
    rules=(Rule("tower.heads", "tower.width", lambda heads, width: ("!", "!") if width % heads else None),),
)


def space() -> SearchSpace:
    tower = {"width": [24, 16], "ratio": [2.5, 1], "layers": [3, 2, 1], "heads": [4, 2]}
    return SearchSpace.from_dict({"name": "tags", "family": "tagger", "tower": tower})


class Tower(stack.Stack, FairseqEncoder):
    def __init__(self, dictionary, sizes, leaves):
        FairseqEncoder.__init__(self, dictionary)
        options = stack.StackOptions(dropout=0.1)
        widths = (sizes.width, sizes.width, sizes.ffn_dim)
        leaves = leaves.stack("tower")
        layers = (EncoderLayer(leaves.layer(), *widths, heads, options) for heads in sizes.heads)
        self.build(leaves.embedding(len(dictionary), sizes.width, 1), sizes.width, layers, leaves, options)

    def activate(self, sizes) -> None:
        self.resize(sizes.width, sizes.layers)
        for layer, heads in zip(self.layers, sizes.heads):
            layer.activate(sizes.width, sizes.width, sizes.ffn_dim, heads)

    def forward(self, tokens):
        x = self.embed(tokens)[0].transpose(0, 1)
        for layer in self.active:
            x = self.run(layer, x, None)
        return x.transpose(0, 1)


@register_model("tagger", dataclass=FairseqDataclass)
class Tagger(Block, BaseFairseqModel):
    family = "tagger"

    def __init__(self, dictionary, architecture, leaves):
        BaseFairseqModel.__init__(self)
        self.tower = Tower(dictionary, architecture.tower, leaves)
        self.output = leaves.linear(architecture.tower.width, TAGS)
        self.architecture = architecture

    def forward(self, tokens):
        return self.output(self.tower(tokens))

    def resize(self, architecture) -> None:
        self.tower.activate(architecture.tower)
        self.output.activate(architecture.tower.width, TAGS)


@register_model("tagger_supernet", dataclass=SupernetConfig)
class TaggerSupernet(Supernet, Tagger):
    def __init__(self, cfg, space):
        Tagger.__init__(self, toy.dictionary(), space.largest(), elastic_leaves(cfg, space))
        self.cfg = cfg
        self.begin(space)

    @classmethod
    def build_model(cls, cfg, task):
        return cls(cfg, SearchSpace.load(cfg.search_space_definition))

    def dense_model(self, architecture):
        return Tagger(self.tower.dictionary, architecture, DenseLeaves())


class Tags(Texts):
    FAMILY, REQUIRED = "tagger", ("language",)

    @classmethod
    def find(cls, state, path, data=None):
        return tuple(Path(data or path).parent.glob("dict.*.txt"))


Sizing = namedtuple("Sizing", "tokens vocabulary", defaults=(30, None))


class TaggerFamily(Family):
    schema = SCHEMA
    mean_names = ("width", "ratio", "layers", "heads")
    models = ("tagger_supernet", "tagger")

    def sizing(self, **options):
        return Sizing(**options)

    def sizing_of(self, model):
        return Sizing(vocabulary=len(model.tower.dictionary))

    def costs(self, arch, sizing):
        tower, tokens = arch.tower, sizing.tokens
        for _ in tower.heads:
            yield attention(tower.width, tower.width, tower.width, tokens, tokens)
            yield feed_forward(tower.width, tower.ffn_dim, tokens)
            yield from (norm(tower.width) for _ in range(2))
        if sizing.vocabulary is not None:
            yield Cost("embedding", sizing.vocabulary * tower.width)
            yield Cost("output", TAGS * (tower.width + 1), tokens * TAGS * tower.width)

    def update(self, model, optimizer, settings, device):
        tokens = torch.full((settings.sentences, settings.source_tokens), 5, device=device)

        def step(between=lambda: None):
            optimizer.zero_grad()
            F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten() % TAGS).backward()
            optimizer.step()
            between()

        return step

    def run(self, model, source_tokens, target_tokens, output_layer):
        tokens = torch.full((1, source_tokens), 5, device=next(model.parameters()).device)
        (model if output_layer else model.tower)(tokens)

    def embeddings(self, model):
        yield from (*model.tower.embed_tokens.parameters(), *model.output.parameters())

    def vocabulary(self, model):
        return TAGS

    def random(self, vocabulary, share):
        dictionary = toy.dictionary(vocabulary - 4)
        return lambda architecture: Tagger(dictionary, architecture, DenseLeaves()).eval()

    def texts(self):
        return Tags

    def parts(self):
        return dict.fromkeys(("model", "task", "criterion"), ("tagger", FairseqDataclass))

    def task(self, dictionaries, weights, where, options=None):
        return Dictionary.load(str(dictionaries[0]))

    def network(self, options, task, architecture):
        return Tagger(task, architecture, DenseLeaves())

    def probe(self):
        return SimpleNamespace(
            read_sentences=lambda bundle, path, number: [toy.batch()["target"]] * number,
            run=lambda bundle, inputs: [bundle.model(tokens) for tokens in inputs],
            compare=lambda one, two: SimpleNamespace(differing=[i for i, a in enumerate(one) if not a.equal(two[i])]),
        )

    def card(self, bundle):
        return "# A tagger"


def supernet(**options) -> TaggerSupernet:
    if options.get("routing") == "split":
        options.setdefault("split_gene", "tower.layers")
    torch.manual_seed(1)
    model = TaggerSupernet(SupernetConfig(router_hidden_dim=16, **options), space())
    toy.disturb(model, lambda name: "modulation" in name or name.endswith(".up"))
    return model


KIT = SimpleNamespace(
    family=TaggerFamily(),
    supernet=supernet,
    inputs=lambda: {"tokens": toy.batch()["target"]},
    logits=lambda out: out,
    added=0,
)
