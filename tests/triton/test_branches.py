"""The cases that are chosen for `make test` reach every branch of the kernels that any test of a table could."""

from __future__ import annotations

from typing import get_args

import pytest

pytest.importorskip("triton")

from roialign.torch.backends import is_interpreted
from tests.house.test_operators import NAMES, names_of
from tests.tables.answers import EVERY_NAME, SMALL_EVERY_CASE
from tests.triton.branches import CHOSEN, check_small_case, choose, recording
from tests.triton.interpreter import hold_whole_answers

pytestmark = [
    pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see tests/gpu"),
    pytest.mark.usefixtures("interpreter"),
]

#: What no case of the tables reaches: beginnings of branches, and why not.
ELSEWHERE = {
    **dict.fromkeys(("bits_of_share", "without_first", "counts_of", "slots_needed", "crowded"), "test_shares.py"),
    **dict.fromkeys(("length_of_shares", "shares_kernel", "sum_shares_kernel"), "test_shares.py"),
    "write_share": "test_shares.py",
    "write_tile: if ADDS": "test_parts_of_a_gradient_are_added",
    "taps_kernel: if RULE == 'grid'": "test_bins_of_one_point",
    "taps_kernel: if RULE == 'crop' or RULE == 'nearest'": "test_crops_of_one_pixel",
    **dict.fromkeys(("order_kernel", "keys_of"), "test_order_by_place"),
    "adjoint_points_kernel: if not (WIDE)": "float32: test_blocks_of_gpus",
    "maximum_kernel: if not (WIDE)": "float32: test_blocks_of_gpus",
    "mean_kernel: if not (WIDE)": "float32: test_blocks_of_gpus",
    "mean_sums_kernel: if not (WIDE)": "float32: test_blocks_of_gpus",
    "winners_kernel: if not (WIDE)": "float32: test_blocks_of_gpus",
    "assigned_level": "test_assigned_levels_are_those_of_the_core",
    "level_of": "test_assigned_levels_are_those_of_the_core",
    **dict.fromkeys(
        ("adjoint_features_kernel: if left != 0.0", "product"), "test_what_is_not_finite_stays_where_it_is"
    ),
    **dict.fromkeys(
        ("add_others", "add_means: for index in range(AT_ONCE)", "add_means: if largest(has_others"),
        "test_gradients_that_are_not_finite",
    ),
    **dict.fromkeys(
        ("largest_pixels: if not (SHIFT == 16)", "largest_points: if not (SHIFT == 16)"),
        "test_winners_of_very_long_maps",
    ),
    "maximum_kernel: if SPEC.HAS_MASK": "no operator has a maximum of bins with weights",
    "rois_from: if not (1 << digit < WORDS)": "test_shares.py",
}


def test_chosen_cases_are_cases_of_the_tables() -> None:
    assert set(CHOSEN) < {case.name for case in SMALL_EVERY_CASE}


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_of_a_specification_has_a_chosen_case(kind: str) -> None:
    chosen = set(names_of([EVERY_NAME[name] for name in CHOSEN]))
    missing = [name for name in get_args(NAMES[kind][0]) if (kind, name) not in chosen]
    assert not missing, f"{kind} {missing}: add the name of its case to CHOSEN in tests/triton/branches.py"


@pytest.mark.slow
def test_the_chosen_cases_reach_every_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new branch needs a case that is chosen: python -m tests.triton.branches chooses anew."""
    hold_whole_answers(monkeypatch)
    with recording() as record:
        for name in CHOSEN:
            check_small_case(EVERY_NAME[name])
    missing = {name for name in record.every - record.reached if not name.startswith(tuple(ELSEWHERE))}
    assert not missing
    unused = {start for start in ELSEWHERE if not any(name.startswith(start) for name in record.every - record.reached)}
    assert not unused, "reached by now"


def test_a_choice_reaches_all_and_no_more_than_it_must() -> None:
    reached = {"a": {"1", "2"}, "b": {"2", "3"}, "c": {"3", "4"}, "d": {"1", "2", "3", "4"}, "e": {"5"}}
    cheap = dict.fromkeys(reached, 1.0)
    assert choose(reached, cheap) == ["d", "e"]
    assert choose(reached, {**cheap, "d": 100.0}) == ["a", "c", "e"]
