"""Several processes whose data end unevenly train what one process trains."""

from __future__ import annotations

import pytest

from tests.fairseq_commands import ROOT, run, run_steps
from tests.supernet_commands import difference

SMALL = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in ("layers", "embed-dim", "ffn-embed-dim")]
TRAIN = [
    *("fairseq-train", "bin", "--user-dir", "repairs_only", "--arch", "transformer", "--dropout", "0"),
    *(word for flag in SMALL for word in (flag, "1" if flag.endswith("layers") else "16")),
    *("--encoder-attention-heads", "2", "--decoder-attention-heads", "2", "--cpu", "--num-workers", "0"),
    # The epsilon keeps Adam from making steps of rounding noise.
    *("--optimizer", "adam", "--adam-eps", "0.001", "--lr", "0.005", "--disable-validation", "--log-format", "simple"),
    *("--max-update", "2"),
]


@pytest.mark.parametrize("tokens", ["80", "60"])
def test_two_ranks_equal_one_process(bench, tokens):
    """Epochs have 5 batches of 80 tokens, so one rank lacks the third; and 6 of 60."""
    train = [*TRAIN, "--max-tokens", tokens, "--update-freq"]
    run_steps([[*train, "6", "--save-dir", f"one-{tokens}"]], bench)
    launcher = ["bash", str(ROOT / "examples" / "launch_cpu.sh"), "2"]
    run([*launcher, *train, "3", "--save-dir", f"two-{tokens}"], bench)
    one, two = (bench / f"{name}-{tokens}" / "checkpoint_last.pt" for name in ("one", "two"))
    assert difference(one, two) < 1e-6
