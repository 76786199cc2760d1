"""The table of all fine-tuned models, its files and its picture, beside the published figures."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write
from fairseq_mos.markdown import code, escape
from fairseq_mos.metrics.glue import MEASURES
from fairseq_mos.paths import is_file, is_folder, listing
from fairseq_mos.pictures import COLOURS, picture
from fairseq_mos.tables import markdown_lines, text_lines, write_csv, write_json
from glue.choosing import Chosen, choose, models_folder, read_about, units_in
from glue.preparing import data_folder
from glue.published import PUBLISHED, Published
from glue.tasks import SEVEN, TASKS
from glue.units import read_data

TITLES = {True: "With a teacher in fine-tuning", False: "Without a teacher", None: "Published, teacher not told"}


@dataclass(frozen=True)
class System:
    """A model of the table.

    Attributes:
        name: its name.
        distilled: whether it had a teacher.
        params: all parameters of the pretrained model.
        params_no_embed: without embeddings and output layer.
        params_budget: of a subnet, as the published searches count.
        tasks: the best point of each task.
    """

    name: str
    distilled: bool
    params: int
    params_no_embed: int
    params_budget: int | None
    tasks: dict[str, Chosen]

    def score(self, task: str) -> float | None:
        """Returns the mean over seeds of what stands for a task; None where it is not finished."""
        chosen = self.tasks.get(task)
        return None if chosen is None else statistics.mean(chosen.values(MEASURES[task][0]))

    def average(self, tasks: Sequence[str]) -> float | None:
        """Returns the mean over tasks; None where one of them is missing."""
        scores = [self.score(task) for task in tasks]
        return None if None in scores else statistics.mean(scores)


def systems_of(output: Path) -> list[System]:
    """Returns what is finished of all models.

    Raises:
        UserError: a damaged file.
    """
    folder = models_folder(output)
    prepared = [name for name in TASKS if is_file(data_folder(output, name) / "about.json")]
    data = {name: read_data(output, name).digest for name in prepared}
    found = []
    for path in listing(folder) if is_folder(folder) else []:
        about = read_about(path)
        for distilled in (False, True) if about else ():
            best = {
                task: choose(task, units_in(output, path.name, task, digest, distilled), about["model"])
                for task, digest in data.items()
            }
            best = {task: chosen for task, chosen in best.items() if chosen}
            if best:
                sizes = [about[name] for name in ("params", "params_no_embed", "params_budget")]
                found.append(System(path.name, distilled, *sizes, best))
    return sorted(found, key=lambda system: -system.params)


def rows_of(systems: Sequence[System]) -> list[dict]:
    """Returns a row for each system, task, split and measure: mean and deviation over seeds, and the point."""
    rows = []
    for system in systems:
        for task, chosen in system.tasks.items():
            lr, batch, epochs, *origin = chosen.point
            for split in next(iter(chosen.scores.values())):
                for measure in MEASURES[task]:
                    values = chosen.values(measure, split)
                    rows.append(
                        {
                            "model": system.name,
                            "distilled": system.distilled,
                            "params": system.params,
                            "params_no_embed": system.params_no_embed,
                            "params_budget": system.params_budget,
                            "task": task,
                            "split": split,
                            "measure": measure,
                            "mean": statistics.mean(values),
                            "deviation": statistics.stdev(values) if len(values) > 1 else None,
                            "seeds": len(values),
                            "lr": lr,
                            "batch": batch,
                            "epochs": epochs,
                            "from_mnli": bool(origin),
                            "points": chosen.points,
                        }
                    )
    return rows


def grid_of(systems: Sequence[System], published: Sequence[Published]) -> list[list[str]]:
    """Returns a table of those with, or of those without a teacher."""
    grid = [["model", "parameters", *TASKS, "7 tasks", "8 tasks"]]
    for system in systems:
        cells = [escape(system.name), f"{system.params / 1e6:.2f}M"]
        for task in TASKS:
            values = system.tasks[task].values(MEASURES[task][0]) if task in system.tasks else []
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "")
        averages = (system.average(SEVEN), system.average(tuple(TASKS)))
        grid.append([*cells, *("" if value is None else f"{value:.2f}" for value in averages)])
    for row in published:
        cells = [f"*{escape(row.name)}*", f"{row.params / 1e6:g}M" if row.params else ""]
        cells += [f"{row.scores[task]:.1f}" if row.scores else "" for task in TASKS]
        cells += [f"{row.average:.1f}" if row.tasks == number else "" for number in (7, 8)]
        if row.tasks is None:
            cells[0] += f": {row.average:.1f} on average, over tasks that are not told"
        grid.append(cells)
    return grid


def page_of(systems: Sequence[System], command: str, sizes: dict[str, int]) -> str:
    """Returns the page, Markdown.

    Args:
        systems: the models.
        command: that wrote it.
        sizes: task -> examples of its dev set.
    """
    lines = ["# GLUE, dev sets", ""]
    for distilled, title in TITLES.items():
        own = [system for system in systems if system.distilled is distilled]
        others = [row for row in PUBLISHED if row.distilled is distilled]
        lines += [f"## {title}", "", *markdown_lines(grid_of(own, others)), ""]
    lines += [
        "Matthews for CoLA, Pearson for STS-B, accuracy elsewhere (MNLI: matched), times 100: the mean over seeds of "
        "the best point of the grid on the dev set, as in the published experiments, so all are somewhat too high; ± "
        "is the deviation over seeds. F1, Spearman, MNLI mismatched and the points are in `results.csv`. Averages are "
        "given where all tasks are there; those of 7 tasks leave STS-B out and do not compare with those of 8.",
        "",
        "*Published* rows were not measured here. Their authors count parameters their own way; here all are counted, "
        "and in `results.csv` also as the published searches of subnets do (`params_budget`).",
        "",
        *_foreign(systems, sizes),
        f"Command: {code(command)}",
        "",
    ]
    return "\n".join(lines)


def _foreign(systems: Sequence[System], sizes: dict[str, int]) -> list[str]:
    """Returns a paragraph about dev sets that are not GLUE's."""
    there = [task for task in TASKS if any(task in system.tasks for system in systems)]
    other = [task for task in there if sizes[task] != TASKS[task].dev]
    others = [f"{task} ({sizes[task]:,} examples, not {TASKS[task].dev:,})" for task in other]
    if not others:
        return []
    return [f"Another dev set than GLUE's, so not comparable with published scores: {', '.join(others)}.", ""]


def draw(systems: Sequence[System], path: Path) -> None:
    """Draws scores against parameters: averages where a model here has one, else the tasks that are there.

    Raises:
        UserError: it cannot be written.
    """
    number = next((n for n in (8, 7) if any(system.average(_tasks(n)) is not None for system in systems)), None)
    with picture(path, (7, 4.5)) as axes:
        axes.set_xscale("log")
        # Without formulas, which matplotlib would write powers of ten as.
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}M")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("parameters")
        if number:
            axes.set_ylabel(f"average of {number} GLUE tasks, dev sets")
            _draw_averages(axes, systems, number)
        else:
            axes.set_ylabel("score on GLUE's dev sets")
            _draw_tasks(axes, systems)
        axes.legend(fontsize=7)


def _tasks(number: int) -> tuple[str, ...]:
    return SEVEN if number == 7 else tuple(TASKS)


def _draw_averages(axes, systems: Sequence[System], number: int) -> None:
    series: dict[str, list[tuple[float, float]]] = {}
    for system in systems:
        if (value := system.average(_tasks(number))) is not None:
            series.setdefault(f"here{', distilled' * system.distilled}", []).append((system.params, value))
    for row in PUBLISHED:
        if row.tasks == number and row.params:
            told = ", distilled" if row.distilled else ""
            series.setdefault(f"{row.name}{told} (published)", []).append((row.params, row.average))
    for place, (name, points) in enumerate(series.items()):
        line = "o-" if name.startswith("here") else "x--"
        axes.plot(*zip(*sorted(points)), line, color=COLOURS[place % len(COLOURS)], label=name, linewidth=1)


def _draw_tasks(axes, systems: Sequence[System]) -> None:
    there = [task for task in TASKS if any(task in system.tasks for system in systems)]
    for place, task in enumerate(there):
        for distilled, marker in ((False, "o"), (True, "^")):
            points = [(s.params, s.score(task)) for s in systems if task in s.tasks and s.distilled == distilled]
            if points:
                label = f"{task}{', distilled' * distilled}"
                axes.plot(*zip(*sorted(points)), marker, color=COLOURS[place], label=label)
        told = [(row.params, row.scores[task]) for row in PUBLISHED if row.scores]
        axes.plot(*zip(*sorted(told)), "x", color=COLOURS[place], label=f"{task}: NAS-BERT (published)")


def table(args: argparse.Namespace) -> None:
    """Writes `results.json`, `.csv`, `.md` and `.png`, and prints the table.

    Raises:
        UserError: nothing is finished, a damaged file, or one that cannot be written.
    """
    output: Path = args.output
    systems = systems_of(output)
    if not systems:
        raise UserError(f"nothing is finished in {output}: bash examples/glue/run.sh finetune ...")
    rows = rows_of(systems)
    averages = [
        {
            "model": system.name,
            "distilled": system.distilled,
            "seven_tasks": system.average(SEVEN),
            "eight_tasks": system.average(tuple(TASKS)),
        }
        for system in systems
    ]
    data = {task: read_data(output, task) for task in {row["task"] for row in rows}}
    sizes = {task: one.splits["valid"] for task, one in data.items()}
    digests = {task: one.digest for task, one in data.items()}
    content = {"command": args.command, "data": digests, "dev_examples": sizes, "rows": rows, "averages": averages}
    write_json(output / "results.json", content)
    write_csv(output / "results.csv", rows)
    with atomic_write(output / "results.md") as stream:
        stream.write(page_of(systems, args.command, sizes))
    draw(systems, output / "results.png")
    for distilled in (False, True):
        own = [system for system in systems if system.distilled is distilled]
        if own:
            print(TITLES[distilled])
            print("\n".join(text_lines(grid_of(own, ()))))
    print(f"wrote {output / 'results.json'}, .csv, .md and .png", flush=True)
