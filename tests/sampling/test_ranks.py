"""Eight ranks agree on what each update trains, whatever else is random on each and wherever it began."""

from __future__ import annotations

import multiprocessing
import random

import numpy
import pytest
import torch

from fairseq_mos.tasks.supernet_translation import SupernetTranslation, SupernetTranslationConfig
from tests import toy

RANKS, BEGIN, END = 8, 20, 60
ALL = {"arch_sampling": "sandwich", "num_random_archs": 2, "extremes_every": 3, "cost_bins": 4, "arch_chain": 5}
FAIR = {"arch_sampling": "uniform", "num_random_archs": 3, "arch_fair": True}


def _drawn(rank: int, options: dict, answers) -> None:
    # Dropout and data have states of their own on each rank.
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(rank)
    task = SupernetTranslation(SupernetTranslationConfig(seed=3, **options), toy.dictionary(), toy.dictionary())
    space = toy.space()
    # Odd ranks have drawn all earlier updates, even ones resume; half of them ask twice, as for two micro-batches.
    for update in range(0 if rank % 2 else BEGIN, BEGIN):
        task.architectures(space, update)
    found = []
    for update in range(BEGIN, END):
        for _ in range(1 + rank // 4):
            sampled = task.architectures(space, update)
        random.random(), numpy.random.rand(), torch.rand(rank + 1)
        found.append([(role, architecture.digest()) for role, architecture in sampled])
    answers.put((rank, found))


@pytest.mark.parametrize("options", [{}, ALL, FAIR], ids=["defaults", "all", "fair"])
def test_eight_processes_draw_the_same(options):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    ranks = [context.Process(target=_drawn, args=(rank, options, answers)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    found = dict(answers.get(timeout=100) for _ in ranks)
    for process in ranks:
        process.join(timeout=10)
    assert sorted(found) == list(range(RANKS))
    assert all(found[rank] == found[0] for rank in range(RANKS))
    drawn = {digest for update in found[0] for role, digest in update if role.startswith("random")}
    assert len(drawn) > 30
