"""What parts ask for, beside what calls of them hold."""

import pytest
import torch
from measure_memory import FAMILIES

WITHIN = 0.15


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_ask_for_what_calls_hold(family):
    torch.manual_seed(0)
    for case in FAMILIES[family]():
        held, asked = case.measured(side=256, batch=1, dtype=torch.float32)
        assert asked == pytest.approx(held, rel=WITHIN), case.name
