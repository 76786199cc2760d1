"""The same recipes as YAML for fairseq-hydra-train: writes configs/train/NAME_STAGE.yaml anew.

PYTHONPATH=examples python -m corpora.hydra      after a change in training.py
"""

from __future__ import annotations

import sys

import yaml
from fairseq import options
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import OmegaConf
from pipeline.config import ROOT

from corpora.recipes import RECIPES
from corpora.training import OWN_BATCHES, PUBLISHED, STAGES, train_flags

_HEAD = """\
# {title}
# {stage}, for 8 GPUs.
# Written by `PYTHONPATH=examples python -m corpora.hydra`; the equal fairseq-train command:
#   bash examples/{name}/train.sh {stage_name} --gpus 8 --print
# fairseq-hydra-train changes its directory: give absolute paths.
#   fairseq-hydra-train --config-dir configs/train --config-name {name}_{stage_name} \\
#       task.data=$PWD/examples/{name}/work/all/data-bin common.user_dir=$PWD/fairseq_mos{more}
# {gpus}
# Batches of their own (train.sh --recipe own-batches): {own}
"""
_GROUPS = ("common", "distributed_training", "dataset", "optimization", "checkpoint", "task", "model", "criterion",
           "optimizer", "lr_scheduler")  # fmt: skip


def config_of(name: str, stage: str, gpus: int = 8, how: str = PUBLISHED) -> dict:
    """Returns the configuration that the command line gives, without what is default, path or user's choice."""
    flags = train_flags(name, stage, "DATA", "checkpoints", gpus, user_dir=str(ROOT / "fairseq_mos"), how=how)
    config = parse_flags([*flags, "--distributed-world-size", str(gpus)])
    # A named architecture is a model with a search space, which the configuration names itself.
    config["model"]["_name"] = ARCH_MODEL_NAME_REGISTRY[config["model"]["_name"]]
    found = {}
    for group in _GROUPS:
        values, defaults = config[group], _defaults(group, config[group].get("_name"))
        changed = {key: values[key] for key, value in defaults.items() if key in values and values[key] != value}
        found[group] = {**({"_name": values["_name"]} if values.get("_name") else {}), **changed}
    # The repairs' default on machines without a GPU.
    found["common"].pop("fp16_no_flatten_grads", None)
    found["common"]["user_dir"] = found["task"]["data"] = "???"
    if stage == "supernet":
        # What people change first.
        found["model"].update({key: config["model"][key] for key in ("routing", "num_experts")})
    else:
        found["model"]["subnet"] = "???"
    if stage == "retrain":
        found["checkpoint"]["finetune_from_model"] = "???"
    return found


def parse_flags(flags: list[str]) -> dict:
    """Returns the whole configuration that fairseq-train would make of its arguments, plain."""
    arguments = options.parse_args_and_arch(options.get_training_parser(), input_args=flags)
    # Of flags that this file's caller made; fairseq's defaults refer to each other.
    config = OmegaConf.to_container(convert_namespace_to_omegaconf(arguments), resolve=True, enum_to_str=True)
    return {group: values for group, values in config.items() if isinstance(values, dict)}


def _defaults(group: str, name: str | None) -> dict:
    """Returns the defaults of a configuration group; of the chosen task, model, ... where it has a name."""
    if name is None:
        defaults = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)[group]
    else:
        tables = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}
        table = tables.get(group) or REGISTRIES[group]["dataclass_registry"]
        defaults = OmegaConf.to_container(OmegaConf.structured(table[name]()), enum_to_str=True)
    # What is taken from another group, such as the learning rate, is written there.
    return {key: value for key, value in defaults.items() if key != "_name" and "${" not in str(value)}


def text_of(name: str, stage: str) -> str:
    """Returns the YAML file."""
    more = "" if stage == "supernet" else " \\\n#       model.subnet=$PWD/search/best.yaml"
    if stage == "retrain":
        more += " checkpoint.finetune_from_model=$PWD/subnet/model.pt"
    eight = config_of(name, stage)
    four, one = config_of(name, stage, 4), config_of(name, stage, 1)
    changes = [
        f"dataset.max_tokens={c['dataset']['max_tokens']} "
        f"'optimization.update_freq={c['optimization'].get('update_freq', [1])}'"
        for c in (four, one)
    ]
    gpus = (
        f"4 GPUs: distributed_training.distributed_world_size=4 {changes[0]}\n"
        f"# 1 GPU: distributed_training.distributed_world_size=1 {changes[1]}"
    )
    head = _HEAD.format(
        title=RECIPES[name].title, stage=STAGES[stage].capitalize(), name=name, stage_name=stage, more=more, gpus=gpus,
        own=" ".join(changes_of(eight, config_of(name, stage, how=OWN_BATCHES))),
    )  # fmt: skip
    return head + "\n" + yaml.safe_dump(eight, sort_keys=False, width=120)


def changes_of(published: dict, own: dict) -> list[str]:
    """Returns what to add to the command of one configuration for another one."""
    found = ["lr_scheduler._name=cosine"] if own["lr_scheduler"]["_name"] != published["lr_scheduler"]["_name"] else []
    for group, values in own.items():
        for key, value in values.items():
            if key != "_name" and value != published[group].get(key):
                # A key that the file does not hold has to be added.
                word = f"{'' if key in published[group] else '++'}{group}.{key}="
                found.append(word + (str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def main() -> None:
    """Writes all files."""
    sys.path.insert(0, str(ROOT))
    import fairseq_mos

    fairseq_mos.register()
    for name in RECIPES:
        for stage in STAGES:
            path = ROOT / "configs" / "train" / f"{name}_{stage}.yaml"
            path.write_text(text_of(name, stage), encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
