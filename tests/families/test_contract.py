"""What every family has to pass, and a second one that is in the tests alone passes without a change anywhere else."""

from __future__ import annotations

import copy
import json
import random
from contextlib import nullcontext

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos.arch import Architecture, SearchSpace, encode, encoding_dim
from fairseq_mos.arch.schema import SCHEMAS
from fairseq_mos.arch.select import resolve
from fairseq_mos.cli import main
from fairseq_mos.cost import dataset, subnets
from fairseq_mos.cost.features import features, mean_features
from fairseq_mos.cost.latency import LatencyMeter, LatencySettings
from fairseq_mos.cost.measured import count_flops, count_parameters
from fairseq_mos.cost.memory import MemorySettings, estimate
from fairseq_mos.errors import UserError
from fairseq_mos.export import running
from fairseq_mos.export.checkpoint import write_checkpoint
from fairseq_mos.families import FAMILIES, family_of
from fairseq_mos.formats import EXPORTERS
from fairseq_mos.models.content import plain_config, with_defaults
from fairseq_mos.models.opening import open_model
from fairseq_mos.modules.in_place import gradients_in_place
from fairseq_mos.modules.routing import ROUTINGS
from fairseq_mos.sampling.strategies import Sampler, Sampling
from tests import toy
from tests.families import tagger
from tests.families.masked_lm import kit as masked_lm
from tests.families.translation import kit as translation

KITS = (translation.KIT, masked_lm.KIT, tagger.KIT)


@pytest.fixture(params=KITS, ids=lambda kit: kit.family.schema.family)
def kit(request, monkeypatch):
    for other in (kit.family for kit in KITS):
        # Undone at the end.
        monkeypatch.setitem(FAMILIES, other.schema.family, other)
        monkeypatch.setitem(SCHEMAS, other.schema.family, other.schema)
    return request.param


def _drawn(space: SearchSpace, count: int) -> list[Architecture]:
    rng = random.Random(4)
    return [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(count))]


def test_files_digests_and_genes(kit, tmp_path):
    space = kit.supernet().space
    assert family_of(space) is kit.family
    space.save(tmp_path / "space.yaml")
    again = SearchSpace.load(tmp_path / "space.yaml")
    assert again == space and again.digest() == space.digest() and again.to_dict() == space.to_dict()
    for arch in _drawn(space, 10):
        arch.save(tmp_path / "arch.yaml")
        assert resolve(space, str(tmp_path / "arch.yaml")) == arch == Architecture.load(arch.to_json())
        assert space.from_genes(space.to_genes(arch)) == arch
        for kind in ("mean", "full"):
            vector = encode(space, arch, kind)
            assert len(vector) == encoding_dim(space, kind) and all(0 <= value <= 1 for value in vector)


@pytest.mark.parametrize("scope", ["ffn", "all"])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("modulation", ["none", "all"])
@torch.no_grad()
def test_a_subnet_is_the_supernet_bit_for_bit(kit, routing, scope, modulation):
    model = kit.supernet(routing=routing, expert_scope=scope, modulation=modulation)
    for arch in _drawn(model.space, 2):
        subnet = model.extract(arch)
        assert torch.equal(kit.logits(model(**kit.inputs())), kit.logits(subnet(**kit.inputs())))
        assert not any("routing" in name or tensor.dim() == 3 for name, tensor in subnet.state_dict().items())


@pytest.mark.parametrize("scope", ["ffn", "all"])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("modulation", ["none", "all"])
def test_gradients_in_place_are_autograd_s(kit, routing, scope, modulation):
    """Of an update of three architectures: what each parameter gets, and which get none."""

    def gradients(way) -> dict[str, torch.Tensor | None]:
        model = kit.supernet(routing=routing, expert_scope=scope, modulation=modulation).double()
        for arch in (*_drawn(model.space, 2), model.space.largest()):
            model.activate(arch)
            with way():
                kit.logits(model(**kit.inputs())).square().mean().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    plain, fast = gradients(nullcontext), gradients(gradients_in_place)
    assert [name for name, grad in plain.items() if grad is None] == [name for name in fast if fast[name] is None]
    for name, grad in plain.items():
        if grad is not None:
            # Mixes are made in fp32.
            rtol, atol = (1e-5, 1e-6) if "rout" in name else (1e-9, 1e-12)
            torch.testing.assert_close(fast[name], grad, rtol=rtol, atol=atol, msg=name)


def test_what_updates_train_is_sampled(kit):
    space = kit.supernet().space
    options = {"cost_bins": 3, "chain": 4, "extremes_every": 2, "window": (0.4, 0.8), "narrow_from": 3}
    sampler, most = Sampler(space, 1, Sampling(**options)), kit.family.flops(space.largest())
    for update in range(8):
        for _, arch in sampler.of_update(update):
            space.validate(arch)
            assert update < 3 or 0.4 <= kit.family.flops(arch) / most <= 0.8


def test_costs_equal_what_is_counted(kit):
    model = kit.supernet()
    built, sizing = subnets.of_space(model.space, 50), kit.family.sizing_of(model)
    for arch in _drawn(model.space, 4):
        counted = count_parameters(model.extract(arch))
        found = kit.family.counts(arch, sizing)
        assert (found["params"], found["params_no_embed"]) == (counted.total, counted.no_embed)
        assert found["flops"] == kit.family.flops(arch) == count_flops(built.build(arch).to("meta"))
        assert {"attention", "feed-forward", "norm", "embedding"} <= {c.kind for c in kit.family.costs(arch, sizing)}
        assert len(features("layers", model.space, arch)) == len(features("layers", model.space, model.space.largest()))


def test_latency_memory_and_data_sets(kit, tmp_path):
    source = subnets.of_space(kit.supernet().space, 50)
    settings = LatencySettings(threads=1, warmup=0, runs=4, source_tokens=4, target_tokens=3, beam=2)
    meter = LatencyMeter(settings)
    measured = dataset.measure_dataset(
        source.space, 4, 1, settings.signature(), lambda arch: meter.measure(source.build(arch)).to_dict(),
        tmp_path / "data.jsonl",
    )  # fmt: skip
    assert len(measured.architectures) == 4 and min(measured.milliseconds) > 0
    assert dataset.read_dataset(tmp_path / "data.jsonl").milliseconds == measured.milliseconds
    names = kit.family.mean_names[: len(mean_features(source.space.largest()))]
    assert len(names) > 3 and set(names) < set(dataset.table(measured)[0])
    needs = MemorySettings(4, 3, 2, 40)
    large, small = (estimate(source.build(arch), needs) for arch in _drawn(source.space, 0))
    assert large.training > small.training > small.decoding > 0


@pytest.mark.parametrize(
    "options",
    [
        {"routing": "neuron", "router_dropout": 0.3},
        {"routing": "neuron", "modulation": "all"},
        {"routing": "low-rank", "expert_scope": "all", "router_dropout": 0.3},
        {"routing": "split", "expert_scope": "all"},
        {"routing": "disentangled", "expert_scope": "all", "modulation": "all"},
    ],
)
def test_training_goes_on_exactly(kit, options):
    def steps(model, optimizer, numbers) -> dict:
        for number in numbers:
            torch.manual_seed(number)
            optimizer.zero_grad()
            for arch in _drawn(model.space, 1):
                model.train()
                model.activate(arch)
                kit.logits(model(**kit.inputs())).log_softmax(-1)[..., 2].mean().backward()
            optimizer.step()
        return model.state_dict()

    model = kit.supernet(**options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps(model, optimizer, range(2))
    stopped = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    whole = steps(model, optimizer, range(2, 4))
    again = kit.supernet(**options)
    other = torch.optim.Adam(again.parameters(), lr=1e-3)
    again.load_state_dict(stopped[0])
    other.load_state_dict(stopped[1])
    resumed = steps(again, other, range(2, 4))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def write_files(kit, model, folder) -> None:
    """Writes a supernet's checkpoint and its dictionaries, named like those of a pair of languages."""
    parts = kit.family.parts()
    config = {name: with_defaults(None, kind) for name, (_, kind) in parts.items()}
    config["task"].update(_name="x", **dict(zip(kit.family.texts().REQUIRED, "ab")))
    options = {**plain_config(OmegaConf.structured(model.cfg)), "search_space_definition": model.space.to_json()}
    config["model"] = {**options, "_name": kit.family.models[0]}
    texts = kit.family.texts()
    for name in texts.file_names(dict(zip(texts.REQUIRED, "ab"))):
        # A file does not hold what a task adds.
        toy.dictionary(46 - kit.added).save(str(folder / name))
    write_checkpoint(folder / "supernet.pt", model, config)


@torch.no_grad()
def test_an_export_answers_as_the_original_does(kit, tmp_path):
    model = kit.supernet()
    write_files(kit, model, tmp_path)
    found, probe = open_model(tmp_path / "supernet.pt"), kit.family.probe()
    assert found.family is kit.family and found.space == model.space
    bundle = found.bundle("smallest")
    inputs = probe.read_sentences(bundle, None, 3)
    answers = probe.run(bundle, inputs)
    exporter = EXPORTERS["safetensors"]
    exporter.write(bundle, str(tmp_path / "folder"))
    assert not probe.compare(answers, running.run(exporter, kit.family, tmp_path / "folder", inputs)).differing
    other = probe.run(found.bundle("largest"), inputs)
    assert probe.compare(answers, other).differing == [0, 1, 2]


def test_another_space_is_refused(kit):
    model = kit.supernet()
    state = model.state_dict()
    state["search_space_version"] = state["search_space_version"] + 1
    with pytest.raises(UserError, match="trained on another search space"):
        model.load_state_dict(state)


def test_the_other_family_s_architectures_are_refused(kit):
    other = (translation if kit is tagger.KIT else tagger).KIT.supernet().space
    with pytest.raises(UserError, match="family is .*, but search space .* allows"):
        kit.supernet().space.validate(other.largest())


def test_the_command_takes_its_spaces(kit, tmp_path, capsys):
    space = kit.supernet().space
    space.save(tmp_path / "space.yaml")
    source = ["--search-space", str(tmp_path / "space.yaml")]
    assert main(["architecture", *source, "--architecture", "smallest", "--output", str(tmp_path / "small.yaml")]) == 0
    assert Architecture.load(tmp_path / "small.yaml") == space.smallest()
    profile = ["profile", *source, "--architecture", str(tmp_path / "small.yaml"), "--vocabulary", "50"]
    assert main([*profile, "--output", str(tmp_path / "profile.json")]) == 0
    found = json.loads((tmp_path / "profile.json").read_text())
    wanted = kit.family.counts(space.smallest())
    assert (found["params_no_embed"], found["flops"]) == (wanted["params_no_embed"], wanted["flops"])
