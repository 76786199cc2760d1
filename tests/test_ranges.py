from __future__ import annotations

import argparse

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.ranges import MINUTES, PROBABILITY, SEED, Range


@pytest.mark.parametrize("text", ["-1", "4294967296", "1.5", "x", "", "nan", "inf", "9" * 5000, "True"])
def test_a_seed_outside_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="allowed: 0 to 4,294,967,295") as caught:
        SEED(text)
    assert len(str(caught.value)) < 140


def test_ends():
    assert SEED("0") == 0 and SEED("4294967295") == 2**32 - 1
    assert PROBABILITY("1") == 1.0 and MINUTES("0.5") == 0.5
    for bad in ("0", "-1", "nan", "inf", "1e400"):
        with pytest.raises(argparse.ArgumentTypeError, match="above 0 to"):
            MINUTES(bad)


def test_values_from_elsewhere():
    assert Range(int, 1, 5).check("beam", 5) == 5
    for bad in (0, 6, True, 1.0, "3", None, float("nan"), 10**400):
        with pytest.raises(UserError, match="beam is .*, allowed: 1 to 5"):
            Range(int, 1, 5).check("beam", bad)
    assert Range(float, 0.0, 1.0).check("dropout", 0) == 0
