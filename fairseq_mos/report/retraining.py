"""How much training the inherited weights save (MoS, section 5: retraining cost)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from fairseq_mos.errors import UserError
from fairseq_mos.report.logs import TrainingLog


@dataclass(frozen=True)
class Saving:
    """What it takes a retrained subnet to reach the loss of the same subnet from scratch.

    Attributes:
        target_loss: the lowest valid loss of training from scratch.
        scratch_updates: the update at which it was reached.
        scratch_seconds: seconds of training up to then, without validation; None where the log does not tell.
        retrained_updates: the first validated update at which retraining reached it; None: it did not.
        retrained_seconds: seconds of training up to then.
        retrained_best: lowest valid loss of retraining.
        first_loss: the first valid loss of retraining, and its update.
        first_update: see above.
    """

    target_loss: float
    scratch_updates: int
    scratch_seconds: float | None
    retrained_updates: int | None
    retrained_seconds: float | None
    retrained_best: float
    first_loss: float
    first_update: int

    def saved(self) -> float | None:
        """Returns the share of updates that is saved; None where the loss was not reached."""
        return None if self.retrained_updates is None else 1 - self.retrained_updates / self.scratch_updates

    def to_dict(self) -> dict:
        """Returns all values for JSON."""
        return {**asdict(self), "saved_updates": self.saved()}

    def sentences(self) -> list[str]:
        """Returns the comparison in words."""
        lines = [
            f"from scratch: lowest valid loss {self.target_loss:.3f} at update {self.scratch_updates:,}"
            + _time(self.scratch_seconds)
        ]
        if self.retrained_updates is None:
            lines.append(f"retrained: {self.retrained_best:.3f} at best: it did not reach that")
        else:
            lines.append(
                f"retrained: reached that at update {self.retrained_updates:,}{_time(self.retrained_seconds)}: "
                f"{self.saved():.0%} fewer updates; lowest valid loss {self.retrained_best:.3f}"
            )
            if self.retrained_updates == self.first_update:
                lines.append("it was there at the first validation: validate more often to know when")
        return lines


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f", {seconds:,.0f} s of training"


def compare(scratch: TrainingLog, retrained: TrainingLog) -> Saving:
    """Compares two training runs of one subnet.

    Raises:
        UserError: a log without valid losses.
    """
    curves = []
    for log in (scratch, retrained):
        if not log.valid.get(""):
            raise UserError(f"{log.path} holds no valid loss of a subnet")
        curves.append(log.valid[""])
    best = min(curves[0], key=lambda update: (curves[0][update], update))
    reached = next((update for update in sorted(curves[1]) if curves[1][update] <= curves[0][best]), None)
    first = min(curves[1])
    return Saving(
        target_loss=curves[0][best],
        scratch_updates=best,
        scratch_seconds=scratch.seconds_at(best),
        retrained_updates=reached,
        retrained_seconds=None if reached is None else retrained.seconds_at(reached),
        retrained_best=min(curves[1].values()),
        first_loss=curves[1][first],
        first_update=first,
    )
