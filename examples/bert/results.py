"""The table, its files and its picture: inherited weights beside training from scratch."""

from __future__ import annotations

import json
import statistics

from bert import tuning
from bert.arguments import SUBNETS
from bert.layout import Run


def rows(run: Run) -> list[dict]:
    """Returns one row a system: sizes, loss in bits per masked token, scores of its tasks."""
    from fairseq_mos.arch import Architecture
    from fairseq_mos.families import family_of

    found = []
    for system in run.systems():
        arch = Architecture.load(run.architecture(system.subnet))
        counts = family_of(arch).counts(arch)
        row = {
            "subnet": system.subnet,
            "weights": system.origin,
            "seed": system.seed,
            "params_no_embed": counts["params_no_embed"],
            "flops": counts["flops"],
            "loss": json.loads(run.loss_file(system).read_text())["loss"],
        }
        found.append({**row, **tuning.scores(run, system), "architecture": arch.to_json()})
    return found


def summary(found: list[dict]) -> list[list[str]]:
    """Returns the table: a line for each subnet and origin of weights, means over seeds with the deviation."""
    measures = [name for name in found[0] if name == "loss" or ":" in name]
    grid = [["subnet", "weights", "w/o embeddings", "seeds", *measures]]
    origins = list(dict.fromkeys(row["weights"] for row in found))
    for subnet in SUBNETS:
        for origin in origins:
            own = [row for row in found if (row["subnet"], row["weights"]) == (subnet, origin)]
            if not own:
                continue
            cells = []
            for name in measures:
                values = [row[name] for row in own]
                spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3f}{spread}")
            grid.append([subnet, origin, f"{own[0]['params_no_embed']:,}", str(len(own)), *cells])
    return grid


def report(run: Run) -> None:
    """Writes `results.json`, `results.csv`, `results.md` and `results.png`, and prints the table."""
    from fairseq_mos import tables
    from fairseq_mos.pictures import COLOURS, picture

    found = rows(run)
    grid = summary(found)
    folder = run.folder
    about = {"command": run.args.command, "updates": run.args.updates, "tuning_updates": run.args.tuning_updates}
    tables.write_json(folder / "results.json", {**about, "rows": found})
    tables.write_csv(folder / "results.csv", found)
    notes = [
        f"Loss: bits per masked token of the valid set, the same masks for all, after {run.args.updates:,} updates; "
        f"tasks: dev set, after {run.args.tuning_updates:,} updates of fine-tuning; ± is the deviation over seeds.",
        f"Command: `{run.args.command}`",
    ]
    (folder / "results.md").write_text("\n".join([*tables.markdown_lines(grid), "", *notes, ""]), encoding="utf-8")
    for line in tables.text_lines(grid):
        run.work.say(line)
    origins = list(dict.fromkeys(row["weights"] for row in found))
    with picture(folder / "results.png", (6, 4)) as axes:
        for number, origin in enumerate(origins):
            own = [row for row in found if row["weights"] == origin]
            places = [SUBNETS.index(row["subnet"]) + 0.12 * (number - (len(origins) - 1) / 2) for row in own]
            axes.plot(places, [row["loss"] for row in own], "o", color=COLOURS[number], label=origin)
        axes.set_xticks(range(len(SUBNETS)), SUBNETS)
        axes.set_ylabel("loss (bits per masked token)")
        axes.legend(title="weights")
    run.work.say(f"wrote {folder / 'results.json'}, .csv, .md and .png")
