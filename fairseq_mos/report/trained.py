"""What was trained, on what, and how, as the supernet's checkpoint tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from fairseq_mos.arch import SearchSpace
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.models.config import method
from fairseq_mos.models.content import plain_config
from fairseq_mos.models.opening import open_model
from fairseq_mos.paths import is_folder
from fairseq_mos.report.discover import RunFolder, is_there


@dataclass(frozen=True)
class Trained:
    """A run's supernet.

    Attributes:
        space: its search space; None without a supernet.
        facts: what was trained -> value.
        model: the supernet in eval mode; None where it cannot be built.
        trouble: why not, in a sentence; empty if nothing is wrong.
    """

    space: SearchSpace | None = None
    facts: dict[str, str] = field(default_factory=dict)
    model: nn.Module | None = None
    trouble: str = ""


def load_trained(run: RunFolder) -> Trained:
    """Loads a run's supernet.

    Raises:
        UserError: it was named by the user, and is damaged or no supernet.
    """
    if run.supernet is None:
        return Trained()
    data = next((search.about.data for search in run.searches if search.about.data), "")
    folder = data.split(":")[0]
    try:
        opened = open_model(run.supernet, folder if folder and is_there(folder, is_folder) else None)
        if not opened.is_supernet and not run.supernet_is_given:
            return Trained()  # a subnet, say, in the folder of that name
        space = opened.space
    except UserError as error:
        if run.supernet_is_given:
            raise
        return Trained(trouble=f"{error}.")
    facts = _facts(opened.state, space, run)
    try:
        return Trained(space, facts, opened.model)
    except UserError as error:
        # Its dictionaries may be gone, or belong to another model now: all else can still be shown.
        return Trained(space, facts, None, f"The experts cannot be shown: {error}.")


def _facts(state: dict, space: SearchSpace, run: RunFolder) -> dict[str, str]:
    config = plain_config(state["cfg"])

    def get(group: str, name: str, default=None):
        values = config.get(group)
        value = values.get(name) if isinstance(values, dict) else None
        return default if value in (None, "???") else value

    data = str(get("task", "data", "")).split(":")[0]
    own = family_of(space).facts(get, state["model"])
    rates = get("optimization", "lr", [])
    rate = [_number(value, "g") for value in (rates if isinstance(rates, list) else [rates])]
    warmup = get("lr_scheduler", "warmup_updates")
    rate += [get("lr_scheduler", "_name"), warmup and f"warm-up {_number(warmup)}"]
    history = state.get("optimizer_history")
    last = history[-1] if isinstance(history, list) and history else None
    updates = last.get("num_updates") if isinstance(last, dict) else None
    facts = {
        "languages": own.pop("languages", ""),
        "data": data.replace(str(run.path.resolve()), "RUN"),
        "dictionaries": own.pop("dictionaries", ""),
        "search space": str(space.name),
        **{name.replace("_", " "): value for name, value in method(config.get("model")).items()},
        "embeddings": own.pop("embeddings", ""),
        "architectures of an update": _drawn(get),
        "optimizer": str(get("optimizer", "_name", "")),
        "learning rate": ", ".join(str(part) for part in rate if part),
        "tokens a batch": _batch(get),
        "updates": _number(updates) if updates else "",
        "dropout": str(get("model", "dropout", "")),
        **own,
        "precision": next((name for name in ("fp16", "bf16", "amp") if get("common", name)), "fp32"),
        "seed": str(get("common", "seed", "")),
    }
    return {name: value for name, value in facts.items() if value}


def _number(value: object, form: str = ",") -> str:
    """Returns a number; what is none, in a configuration from elsewhere, as it is."""
    return format(value, form) if isinstance(value, (int, float)) else str(value)


def _drawn(get) -> str:
    sampling, number = get("task", "arch_sampling", ""), get("task", "num_random_archs")
    if not sampling or number is None:
        return str(sampling)
    ends = "largest, smallest and " if sampling == "sandwich" else ""
    fair = "fair" if get("task", "arch_fair") else "random"
    own = ", each on batches of its own" if get("task", "arch_own_batches") else ""
    return f"{sampling}: {ends}{_number(number)} {fair}{own}"


def _batch(get) -> str:
    tokens, sentences = get("dataset", "max_tokens"), get("dataset", "batch_size")
    accumulated = get("optimization", "update_freq", [1])
    times = accumulated[-1] if isinstance(accumulated, list) and accumulated else accumulated
    workers = get("distributed_training", "distributed_world_size", 1)
    factors = [
        f"x {_number(number)} {word}"
        for number, word in ((workers, "processes"), (times, "accumulated"))
        if number not in (1, 0, [])
    ]
    size = f"{_number(tokens)} at most" if tokens else f"{_number(sentences)} sentences" if sentences else ""
    return " ".join([size, *factors]) if size else ""
