"""Every operator is in every table, and every name of a specification in every language: what is missing is listed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, get_args

import pytest

import roialign
from roialign import _core, _spec
from roialign._core_specs import core_name
from tests.tables.answers import EVERY_CASE
from tests.tables.paths import ROOT

NOT_POOLING = {"bilinear_interpolate"}
ROTATED_PAIRS = {"rotated_iou", "rotated_nms"}
#: `multiscale_roi_align` is `roi_align` on several maps, so the tables of calls on one map leave it out.
ON_LEVELS = {"multiscale_roi_align", "multiscale_roi_align_rotated"}
OPERATORS = sorted(
    name for name in roialign.__all__ if f"{name}_backward" in roialign.__all__ and name not in ROTATED_PAIRS
)


class Place(NamedTuple):
    """Where an operator must be named, in one of the files."""

    files: tuple[str, ...]
    what: str
    without: frozenset[str] = frozenset()

    def names(self, operator: str) -> bool:
        texts = [(ROOT / file).read_text(encoding="utf-8") for file in self.files]
        return any(re.search(rf"\b{operator}\b", text) for text in texts)


MODULES = tuple(
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "src" / "roialign" / "torch" / "modules").glob("*.py"))
)
PLACES = (
    Place(MODULES, "a module", frozenset(NOT_POOLING)),
    Place(("tests/ops/test_public_api.py",), "its signature, and that of its backward function, in SIGNATURES"),
    Place(("tests/tables/operators.py",), "a row in OPERATORS", frozenset(NOT_POOLING | ON_LEVELS)),
    Place(
        ("tests/tables/tensors.py", "tests/torch/test_pointwise.py"),
        "a row in OPERATORS: of the first file if it is separable, of the second if it is pointwise",
        frozenset({"multiscale_roi_align_rotated"}),
    ),
    Place(
        ("tests/torch/test_modules.py", "tests/torch/test_pointwise.py"),
        "a row in MODULES: of the first file if it is separable, of the second if it is pointwise",
        frozenset(NOT_POOLING | {"multiscale_roi_align_rotated"}),
    ),
    Place(("tests/torch/recording/models.py",), "a row in FUNCTIONS, and one for the module in MODULES"),
    Place(
        ("tests/gpu/test_smoke.py",),
        "a row in CALLS",
        frozenset(NOT_POOLING | {"multiscale_roi_align_rotated", "ps_roi_pool"}),
    ),
    Place(("docs/operators.md",), "a row in the table of operators"),
    Place(("docs/recording.md",), "its rows: python -m tests.torch.recording.page writes them"),
    Place(("docs/reference/operators.rst",), "its name and that of its backward function"),
    Place(("README.md",), "a row in the table of operators"),
    Place(("CHANGELOG.md",), "a line"),
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_is_in_every_table(operator: str) -> None:
    missing = [
        f"{' or '.join(place.files)}: add {place.what}"
        for place in PLACES
        if operator not in place.without and not place.names(operator)
    ]
    assert not missing, f"{operator} is missing in\n" + "\n".join(missing)


#: The names of a specification: their Python type, the enumeration of the core, and the file that binds it.
NAMES: dict[str, tuple[Any, Any, str]] = {
    "Rule": (_spec.Rule, _core.Rule, "cpp/bindings.cpp"),
    "Mapping": (_spec.Mapping, _core.Mapping, "cpp/bindings_pointwise.cpp"),
    "PointRule": (_spec.PointRule, _core.PointRule, "cpp/bindings_pointwise.cpp"),
    "Reduction": (_spec.Reduction, _core.Reduction, "cpp/bindings_pointwise.cpp"),
    "Channels": (_spec.Channels, _core.Channels, "cpp/bindings_pointwise.cpp"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_of_a_specification_is_in_the_core(kind: str) -> None:
    names, enumeration, file = NAMES[kind]
    missing = sorted(set(get_args(names)) - set(enumeration.__members__))
    assert not missing, f'{kind} {missing}: add .value("{missing[0]}", ...) in {file}, then run make test and make stub'
    assert set(enumeration.__members__) == set(get_args(names)), f"_spec.{kind} lacks a name that {file} has"


def test_a_core_that_was_built_without_a_name_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"the compiled core has no Rule 'new': add it in cpp/, and build"):
        core_name(_core.Rule, "new")


@pytest.mark.parametrize(
    ("kind", "file"),
    [("Rule", "steps/sample_points.h"), ("Mapping", "pointwise.h"), ("Channels", "pointwise.h")],
)
def test_hostile_input_reaches_every_name(kind: str, file: str) -> None:
    """The driver in cpp/tests draws a number below the count that stands beside the enumeration."""
    last = list(NAMES[kind][1].__members__)[-1]
    count = f"{kind.lower()}_count = static_cast<int>({kind}::{last}) + 1;"
    assert count in (ROOT / "cpp" / file).read_text(encoding="utf-8"), f"cpp/{file}: expected {count}"


def names_of(cases: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The names in the specifications of cases, as (kind, name)."""
    for case in cases:
        if case.family == "separable":
            yield "Rule", case.spec.rule
        else:
            yield "Mapping", case.spec.mapping
            yield "PointRule", case.spec.rule
            yield "Reduction", case.spec.reduction
            yield "Channels", case.spec.channels


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_of_a_specification_has_a_case(kind: str) -> None:
    missing = {name for name in get_args(NAMES[kind][0]) if (kind, name) not in set(names_of(EVERY_CASE))}
    file = "cases.py" if kind == "Rule" else "pointwise_cases.py"
    assert not missing, f"{kind} {sorted(missing)}: add a case in tests/tables/{file}"


@pytest.mark.parametrize("rule", get_args(_spec.Rule))
def test_a_rule_has_a_border_and_is_documented(rule: str) -> None:
    assert rule in _spec.BORDER_OF_RULE, f"add {rule!r} to BORDER_OF_RULE in src/roialign/_spec.py"
    assert f'"{rule}"' in (roialign.taps.__doc__ or ""), f"describe {rule!r} in src/roialign/ops/taps.py"
