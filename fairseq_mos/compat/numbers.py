"""Values of fairseq's own flags that no run can use, refused before work starts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.compat.texts import check_texts
from fairseq_mos.errors import UserError
from fairseq_mos.ranges import BEAM, LENPEN, PROBABILITY, PROCESSES, SEED, Range

_POSITIVE = Range(int, 1, 10**12)
_COUNT = Range(int, 0, 10**12)
_KEPT = Range(int, -1, 10**12)  # -1: all, or off
_SIZE = Range(int, 1, 10**6)
_TOKENS = Range(int, 1, 10**9)
_RATE = Range(float, 0.0, 1e9)
_WEIGHT = Range(float, -1e9, 1e9)
_OFF_RATE = Range(float, -1.0, 1e9)  # -1: off
_LENGTH = Range(int, 0, 10**7)

_RANGES: dict[Range, str] = {
    SEED: "seed fixed_validation_seed",
    _POSITIVE: "log_interval validate_interval save_interval update_freq ema_update_freq fp16_init_scale "
    "amp_init_scale lr_deacy_period checkpoint_shard_count model_parallel_size num_shards",
    _COUNT: "max_epoch max_update save_interval_updates validate_interval_updates validate_after_updates "
    "max_valid_steps curriculum empty_cache_freq amp_batch_retries shard_id ema_start_update warmup_updates "
    "lr_patience ignore_prefix_size no_repeat_ngram_size num_batch_buckets buffer_size "
    "warmup_steps hold_steps decay_steps force_anneal",
    _KEPT: "keep_interval_updates keep_interval_updates_pattern keep_last_epochs keep_best_checkpoints patience "
    "sampling_topk diverse_beam_groups upsample_primary",
    _TOKENS: "max_tokens max_tokens_valid batch_size batch_size_valid",
    Range(int, 1, 10**4): "required_batch_size_multiple required_seq_len_multiple",
    Range(int, 0, 1024): "num_workers",
    Range(int, 0, 10**4): "encoder_layers decoder_layers",
    _SIZE: "encoder_embed_dim decoder_embed_dim encoder_ffn_embed_dim decoder_ffn_embed_dim encoder_attention_heads "
    "decoder_attention_heads",
    Range(int, 1, 10**7): "max_source_positions max_target_positions",
    _LENGTH: "max_len_b min_len prefix_size",
    PROCESSES: "distributed_world_size",
    Range(int, 0, PROCESSES.high - 1): "distributed_rank",
    Range(int, -1, 65_535): "distributed_port",
    BEAM: "beam nbest",
    LENPEN: "lenpen",
    PROBABILITY: "dropout attention_dropout activation_dropout relu_dropout encoder_layerdrop decoder_layerdrop "
    "label_smoothing ema_decay fp16_scale_tolerance momentum lr_decay",
    _RATE: "lr clip_norm stop_time_hours weight_decay adam_eps min_lr end_learning_rate lr_shrink lr_threshold "
    "max_len_a alignment_lambda diverse_beam_strength max_lr init_lr_scale power",
    _OFF_RATE: "stop_min_lr warmup_init_lr diversity_rate",
    Range(float, 0.0, 1e9, above=True): "final_lr_scale",
    Range(float, -1.0, 1e12): "lr_period_updates",  # -1: until --max-update
    _WEIGHT: "unkpen lm_weight",
    Range(float, 0.0, 1e6, above=True): "temperature t_mult",
    Range(float, -1.0, 1.0): "sampling_topp",
}
RANGES = {name: allowed for allowed, names in _RANGES.items() for name in names.split()}
"""Name of a flag of fairseq's commands -> what it may be."""

_OF_SCHEDULERS: dict[str, dict[str, Range]] = {
    "inverse_sqrt": {"warmup_updates": _POSITIVE},
    "triangular": {"lr_period_updates": Range(float, 2.0, 1e12)},
    "polynomial_decay": {"total_num_update": Range(float, 1.0, 1e12)},
}
"""`--lr-scheduler` -> what it divides by, and others do not."""


def check(values: Mapping[str, Any]) -> None:
    """Checks values by the names of their flags.

    Raises:
        UserError: names the flag. Text in a number's place is left alone: other models use some names for other
            things.
    """
    scheduler = values.get("lr_scheduler", values.get("_name"))
    own = _OF_SCHEDULERS.get(scheduler, {}) if isinstance(scheduler, str) else {}
    ranges = {**RANGES, **own}
    for name, value in values.items():
        if name in own and value is None:
            raise UserError(f"--lr-scheduler {scheduler} needs --{name.replace('_', '-')}")
        if name in own and isinstance(value, str) and not value.startswith("${"):
            # fairseq leaves flags as text whose default is another flag's value.
            try:
                own[name](value)
            except argparse.ArgumentTypeError as error:
                raise UserError(f"--{name.replace('_', '-')} {error}") from error
        for number in value if isinstance(value, (list, tuple)) else (value,):
            if name in ranges and isinstance(number, (int, float)) and not isinstance(number, bool):
                ranges[name].check(f"--{name.replace('_', '-')}", number)
    check_texts(values, RANGES)


def _sections(config: Any) -> Iterator[Mapping[str, Any]]:
    from omegaconf import DictConfig, OmegaConf

    for section in config.values():
        if isinstance(section, DictConfig):
            # References of the user's own configuration: a checkpoint's were escaped when it was loaded.
            yield OmegaConf.to_container(section, resolve=True)


def repair_number_ranges() -> bool:
    """Refuses numbers that would fail somewhere in fairseq or torch, hang, or train something else.

    `--seed -1` ends in numpy's traceback, `--dropout 2` in torch's, `--dropout nan` trains on nothing, and
    `--update-freq 0` divides by zero. Flags are checked when they have been parsed; fairseq-hydra-train,
    which does not parse any, when the task is set up.
    """
    from fairseq import options, tasks

    def make_parse(original: Callable) -> Callable:
        def parse_args_and_arch(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            check(vars(result[0] if isinstance(result, tuple) else result))
            return result

        return parse_args_and_arch

    def make_setup(original: Callable) -> Callable:
        def setup_task(cfg: Any, **kwargs: Any) -> Any:
            root = cfg._get_parent() if hasattr(cfg, "_get_parent") else None
            if root is not None and not kwargs.get("from_checkpoint"):
                for section in _sections(root):
                    check(section)
            return original(cfg, **kwargs)

        return setup_task

    first = replace(options, "parse_args_and_arch", "number_ranges", make_parse)
    return replace(tasks, "setup_task", "number_ranges", make_setup) or first
