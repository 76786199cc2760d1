"""A plan's flags, held against fairseq's own parser before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fairseq import options
from pipeline.config import ROOT

from fairseq_mos.errors import UserError, one_line
from fairseq_mos.fields import check_fields
from fairseq_mos.models.config import MosTransformerConfig
from fairseq_mos.tasks.options import SupernetTaskConfig, check, dealer
from reproduce.units import Retrained, Training, command_line


def check_flags(source: Path, trainings: Iterable[Training]) -> None:
    """Parses the command of one training of each method.

    A mistyped flag of the last method would else show hours later, after the trainings from scratch.

    Args:
        source: file of the plan, for messages.
        trainings: of all methods.

    Raises:
        UserError: names the method, and what fairseq-train says.
    """
    checked = set()
    for training in trainings:
        about = training.method
        if isinstance(training, Retrained):
            about = f"{training.source.method}: {about}"
        if about in checked:
            continue
        checked.add(about)
        start = Path("START") if training.start else None
        words = command_line(training, Path("DATA"), Path("SAVE"), Path("SUBNET"), start)
        said = refused([*words, "--user-dir", str(ROOT / "fairseq_mos")])
        if said:
            raise UserError(f"{source}: {about}: fairseq-train says: {said}")


def refused(words: Sequence[str]) -> str:
    """Returns what fairseq-train's parser says against arguments; nothing, if it takes them."""
    try:
        parsed = options.parse_args_and_arch(options.get_training_parser(), input_args=list(words))
        if parsed.task == "supernet_translation":
            for kind in (MosTransformerConfig, SupernetTaskConfig):
                check_fields(parsed, kind)
            check(parsed)
            dealer(parsed, parsed.update_freq, 0, 1)
    except UserError as error:
        return one_line(str(error).removesuffix(" (see --help)"), 200)
    return ""
