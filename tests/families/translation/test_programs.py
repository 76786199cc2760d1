"""Programs of torch.export translate and score as the network does."""

from __future__ import annotations

import shutil

import pytest
import torch

from fairseq_mos import hub
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation import probe, programs
from fairseq_mos.models.opening import load_bundle
from tests import toy


@pytest.fixture(scope="module", params=["random:4", "smallest"])
def pair(request, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    bundle = load_bundle(small.path, request.param)
    programs.write(bundle, folder)
    return bundle, load_bundle(str(folder), trust=True), folder


def test_scores_of_given_targets(pair):
    bundle, exported, _ = pair
    batch = toy.batch(5)["net_input"]
    # Padding on the right, as decoding has it; on the left no step-by-step decoder sees it.
    with torch.no_grad():
        expected, found = bundle.model(**batch)[0], exported.model(**batch)[0]
    real = batch["prev_output_tokens"].ne(1)
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_same_translations_in_batches_of_any_size(pair, small, beam):
    bundle, exported, _ = pair
    options = {"beam": beam, "max_len_a": 0, "max_len_b": 10}
    translations = []
    for model in (bundle, exported):
        interface = hub.of_bundle(model)
        tokens = [interface.encode(line) for line in small.sources]
        hypotheses = [h[0] for h in interface.generate(tokens, **options)]
        alone = interface.generate(tokens[:1], **options)[0][0]
        assert torch.equal(alone["tokens"], hypotheses[0]["tokens"])
        translations.append(hypotheses)
    for one, two in zip(*translations):
        assert torch.equal(one["tokens"], two["tokens"])
        assert float(one["score"]) == pytest.approx(float(two["score"]), abs=1e-5)


def test_an_incomplete_or_damaged_folder(pair, tmp_path):
    folder = shutil.copytree(pair[2], tmp_path / "copy")
    (folder / "step.pt2").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"step.pt2 cannot be loaded"):
        load_bundle(str(folder), trust=True)
    (folder / "encode.pt2").unlink()
    with pytest.raises(UserError, match=r"encode.pt2 is missing"):
        load_bundle(str(folder), trust=True)


def test_without_trust_the_network_itself_runs(pair):
    bundle, _, folder = pair
    again = load_bundle(folder)
    one, two = bundle.model.state_dict(), again.model.state_dict()
    assert type(again.model) is type(bundle.model) and one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("form", ["hard", "soft"])
def test_programs_align_no_words(pair, form):
    bundle, exported, folder = pair
    options = {"beam": 2, "max_len_a": 0, "max_len_b": 4, "print_alignment": form}
    interface = hub.of_bundle(exported)
    tokens = [interface.encode("Hund"), interface.encode("ein Hund")]
    for ask in (interface.translate, interface.sample):
        with pytest.raises(UserError, match="print_alignment needs attention, which torch.export programs do not"):
            ask(["Hund"], **options)
    with pytest.raises(UserError, match="print_alignment needs attention"):
        interface.generate(tokens, **options)
    interface.cfg.generation.print_alignment = form
    with pytest.raises(UserError, match="print_alignment needs attention"):
        interface.translate("Hund", max_len_a=0, max_len_b=4)
    found, expected = (hub.of_bundle(b).generate(tokens, **options) for b in (load_bundle(folder), bundle))
    for one, two in zip(found, expected):
        assert len(one[0]["alignment"]) > 0 and str(one[0]["alignment"]) == str(two[0]["alignment"])


def test_they_stay_in_fp32_on_the_cpu(pair):
    interface = hub.of_bundle(pair[1])
    for convert in (interface.half, interface.bfloat16, interface.cuda, lambda: interface.to("meta")):
        with pytest.raises(UserError, match="programs run in fp32 on the CPU: for others export with --format safe"):
            convert()
    assert len(interface.float().cpu().translate(["Hund"], beam=1, max_len_a=0, max_len_b=4)) == 1


def test_only_subnets(pair):
    with pytest.raises(UserError, match="--format torch-export is for mos_subnet"):
        programs.export(pair[1])


def test_the_verdict_counts_what_differs():
    one = [probe.Translation(["a"], -1.0), probe.Translation(["b"], -1.0), probe.Translation(["c"], -2.0)]
    two = [probe.Translation(["a"], -1.5), probe.Translation(["x"], -9.0), probe.Translation(["c"], -2.0)]
    verdict = probe.compare(one, two)
    assert verdict == probe.Verdict(3, [1], 0.5)
    assert str(verdict).startswith("2 of 3 greedy translations have the original's tokens; their scores differ by at")
