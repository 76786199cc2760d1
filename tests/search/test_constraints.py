"""Limits: the grammar, both sides of each boundary, and limits that nothing can meet."""

from __future__ import annotations

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.search.constraints import Constraint, check_reachable
from tests.arch.samples import mini
from tests.search.synthetic import COSTS, everything


@pytest.mark.parametrize(
    ("text", "name", "operator", "limit"),
    [
        ("params<=30e6", "params", "<=", 30_000_000),
        ("params <= 30M", "params", "<=", 30_000_000),
        (" flops<1.2G ", "flops", "<", 1_200_000_000),
        ("params_no_embed>=500K", "params_no_embed", ">=", 500_000),
        ("flops>.5T", "flops", ">", 5e11),
        ("params<7", "params", "<", 7),
        ("params<2.5e-1M", "params", "<", 250_000),
    ],
)
def test_reads_limits(text, name, operator, limit):
    assert Constraint.parse(text) == Constraint(name, operator, limit)


@pytest.mark.parametrize(
    "text",
    ["", "params", "params=3", "params==3", "params<=", "params<=-3", "params<=3X", "latency<=3", "3<=params"]
    + ["params<=1_0", "params<=3 4", "params<=nan", "params<=1e6e6", "Params<=3", "params=<3", "flops<3,5"],
)
def test_malformed_limits_name_what_is_allowed(text):
    with pytest.raises(UserError) as error:
        Constraint.parse(text)
    message = str(error.value)
    assert repr(text) in message and "\n" not in message
    for allowed in ("params, params_no_embed, params_budget, flops", "<=, <, >=, >", "K, M, G, T"):
        assert allowed in message


def test_an_infinite_limit_is_refused():
    with pytest.raises(UserError, match="too large"):
        Constraint.parse("params<=1e999")


@pytest.mark.parametrize(
    ("operator", "below", "at", "above"),
    [("<=", True, True, False), ("<", True, False, False)]
    + [(">=", False, True, True), (">", False, False, True)],
)
def test_boundaries(operator, below, at, above):
    constraint = Constraint("params", operator, 100.0)
    for value, met in ((99, below), (100, at), (101, above)):
        assert constraint.met({"params": value}) is met
        assert (constraint.violation({"params": value}) == 0) is met


def test_violation_is_the_relative_distance():
    assert Constraint("params", "<=", 200.0).violation({"params": 300}) == pytest.approx(0.5)
    assert Constraint("params", ">=", 200.0).violation({"params": 150}) == pytest.approx(0.25)


def test_text_is_canonical():
    texts = {str(Constraint.parse(text)) for text in ("params <= 30M", "params<=3e7", "params<=30000000")}
    assert texts == {"params<=30000000"}


@pytest.mark.parametrize("name", ["params", "params_no_embed", "flops"])
def test_the_reported_extremes_are_those_of_all_architectures(name):
    space = mini()
    values = [COSTS(arch)[name] for arch in everything(space)]
    for text, value, word in (
        (f"{name}<{min(values)}", min(values), "smallest"),
        (f"{name}>{max(values)}", max(values), "largest"),
    ):
        with pytest.raises(UserError, match=f"the {word} reachable value is {value} ") as error:
            check_reachable([Constraint.parse(text)], space, COSTS)
        assert (space.smallest() if word == "smallest" else space.largest()).digest() in str(error.value)
    check_reachable([Constraint.parse(f"{name}<={min(values)}")], space, COSTS)
    check_reachable([Constraint.parse(f"{name}>={max(values)}")], space, COSTS)


@pytest.mark.parametrize(("low", "high"), [("params>=6K", "params<=5K"), ("params>6K", "params<=6K")])
def test_limits_that_contradict_each_other(low, high):
    space = mini()
    with pytest.raises(UserError, match="contradict each other"):
        check_reachable([Constraint.parse(high), Constraint.parse(low)], space, COSTS)
