"""Every number of fairseq's flags, and of our own fields, is checked before work starts."""

from __future__ import annotations

import dataclasses
import math

import pytest
from fairseq import options, tasks
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

import fairseq_mos
from fairseq_mos.compat.numbers import RANGES, check
from fairseq_mos.criterions.supernet_label_smoothed_cross_entropy import SupernetCriterionConfig
from fairseq_mos.errors import UserError
from fairseq_mos.fields import check_fields
from fairseq_mos.models.config import MosSubnetConfig, MosTransformerConfig
from fairseq_mos.tasks.supernet_translation import SupernetTranslationConfig
from tests import toy

fairseq_mos.register()
OURS = (MosTransformerConfig, MosSubnetConfig, SupernetTranslationConfig, SupernetCriterionConfig)


def parse(*flags: str, get_parser=options.get_training_parser):
    return options.parse_args_and_arch(get_parser(), ["data", *flags])


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--update-freq", "1,0"),
        ("--lr", "0.1,-1"),
        ("--max-update", "-3"),
        ("--max-tokens", "0"),
        ("--num-workers", "1000000"),
        ("--dropout", "2"),
        ("--dropout", "nan"),
        ("--label-smoothing", "-0.5"),
        ("--clip-norm", "inf"),
        ("--encoder-layers", "1000000000"),
        ("--distributed-port", "99999"),
        ("--max-source-positions", "-5"),
        ("--patience", "-2"),
    ],
)
def test_flags_of_training(flag, value):
    words = ["--arch", "transformer", "--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam"]
    with pytest.raises(UserError, match=f"^{flag} is .*, allowed: .* to "):
        parse(*words, flag, value)


@pytest.mark.parametrize(
    ("scheduler", "flag", "value"),
    [
        ("inverse_sqrt", "--warmup-updates", "0"),
        ("triangular", "--lr-period-updates", "1"),
        ("cosine", "--t-mult", "0"),
        ("tri_stage", "--final-lr-scale", "0"),
        ("tri_stage", "--decay-steps", "-1"),
        ("polynomial_decay", "--total-num-update", "-1"),
        ("polynomial_decay", "--total-num-update", "x"),
        ("polynomial_decay", "--power", "nan"),
        ("step", "--lr-deacy-period", "0"),
        ("step", "--lr-decay", "2"),
        ("fixed", "--force-anneal", "-1"),
    ],
)
def test_flags_of_schedulers(scheduler, flag, value):
    words = ["--arch", "transformer", "--lr-scheduler", scheduler]
    words += ["--max-lr", "1"] * (scheduler == "triangular")
    with pytest.raises(UserError, match=f"^{flag} is .*, allowed: .* to "):
        parse(*words, flag, value)


def test_schedules_without_what_they_need():
    with pytest.raises(UserError, match="^--lr-scheduler polynomial_decay needs --total-num-update$"):
        parse("--arch", "transformer", "--lr-scheduler", "polynomial_decay")
    parse("--arch", "transformer", "--lr-scheduler", "polynomial_decay", "--total-num-update", "1e3")


def test_no_warmup_elsewhere():
    parse("--arch", "transformer", "--lr-scheduler", "cosine", "--warmup-updates", "0")


@pytest.mark.parametrize(("flag", "value"), [("--beam", "0"), ("--lenpen", "nan"), ("--temperature", "0")])
def test_flags_of_generation(flag, value):
    with pytest.raises(UserError, match=f"^{flag} is "):
        parse("--path", "x", flag, value, get_parser=options.get_generation_parser)


def test_defaults_are_allowed():
    sections = [field.type for field in dataclasses.fields(FairseqConfig) if dataclasses.is_dataclass(field.type)]
    checked = set()
    for section in sections:
        values = OmegaConf.to_container(OmegaConf.structured(section()), resolve=False)
        check(values)
        checked |= RANGES.keys() & values.keys()
    assert len(checked) > 40
    for arch in ("transformer", "transformer_wmt_en_de_big", "mos_transformer_tiny", "lightconv", "fconv"):
        parse("--arch", arch, "--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam")


def test_hydra_is_checked_when_the_task_is_set_up():
    root = convert_namespace_to_omegaconf(parse("--arch", "transformer"))
    root.optimization.update_freq = [0]
    with pytest.raises(UserError, match="--update-freq is 0, allowed: 1 to"):
        tasks.setup_task(root.task)


@pytest.mark.parametrize("fields", OURS)
def test_our_numeric_fields_have_ranges(fields):
    """Fields that fairseq checks by table, or that the model refuses altogether, need none of their own."""
    for field in dataclasses.fields(fields):
        if field.type not in (int, float) or isinstance(field.default, str) or field.name in RANGES:
            continue
        allowed = field.metadata.get("range")
        if allowed is None:
            assert field.name.startswith("quant_noise"), field.name
            continue
        for bad in (allowed.low - 1, allowed.high * 2, math.nan, 1e400):
            with pytest.raises(UserError, match=f"^--{field.name.replace('_', '-')} is "):
                check_fields(dataclasses.replace(fields(), **{field.name: bad}), fields)
        check_fields(fields(), fields)


@pytest.mark.parametrize(
    ("name", "value"), [("router_dropout", 2.0), ("num_experts", 0), ("num_experts", 10**9), ("dropout", math.nan)]
)
def test_models_are_not_built_with_them(name, value):
    with pytest.raises(UserError, match=f"^--{name.replace('_', '-')} is .*, allowed: "):
        toy.supernet("neuron", **{name: value})
