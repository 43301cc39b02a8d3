"""Which branches of the kernels a case reaches in Triton's interpreter, and the few cases of the tables that together
reach all that the tables do: `make test` runs these, and `make test-all` the others too.

`python -m tests.triton.branches` runs both tables and chooses anew.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from triton.runtime import interpreter

import roialign.triton
from tests.tables.answers import SMALL_EVERY_CASE
from tests.tables.cases import SMALL_CASES, Case
from tests.tables.pointwise_cases import SMALL_POINT_CASES

#: Chosen by :func:`choose`; tests/triton/test_branches.py holds them to every branch that there is.
CHOSEN = (
    "small: random, not aligned",
    "small: exact",
    "small: nearest",
    "small: 17 channels, fill",
    "small: one column of bins",
    "small: small boxes on a tall map",
    "small: pyramid, not aligned",
    "small: max, random",
    "small: max, exact",
    "small: max of corners",
    "small: rotated, clockwise",
    "small: rotated, random",
    "small: rotated, 66 points",
    "small: rotated, max",
    "small: position-sensitive",
    "small: position-sensitive pool",
    "small: RoIPool, inclusive",
    "small: max, 16 channels",
    "small: deformable, 16 channels",
    "small: rotation-invariant, 72 channels",
    "small: rotated, pyramid",
    "small: max, pyramid",
)


def small_case(case: Case) -> Any:
    """A case of a table of small cases, as a parameter of a test: slow, unless it is chosen."""
    return pytest.param(case, marks=() if case.name in CHOSEN else pytest.mark.slow, id=case.name)


def check_small_case(case: Case) -> None:
    """A case in the interpreter: one layout, then the other."""
    from tests.torch.test_backends import check_all  # which defines kernels

    table = SMALL_POINT_CASES if case.family == "pointwise" else SMALL_CASES
    check_all(case, "float64", table.index(case) % 2 > 0, "triton")


class _Marks(ast.NodeTransformer):
    """Makes every branch of a function say that it was reached."""

    def __init__(self, function: str) -> None:
        self.function = function
        self.names: set[str] = set()

    def call(self, name: str) -> ast.Call:
        self.names.add(f"{self.function}: {name}")
        return ast.Call(ast.Name("_reached", ast.Load()), [ast.Constant(f"{self.function}: {name}")], [])

    def value(self, name: str, value: ast.expr) -> ast.expr:
        """The value, after a call."""
        return ast.Subscript(ast.Tuple([self.call(name), value], ast.Load()), ast.Constant(1), ast.Load())

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self.call("called")))
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        condition = ast.unparse(node.test)
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self.call(f"if {condition}")))
        node.orelse.insert(0, ast.Expr(self.call(f"if not ({condition})")))
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        condition = ast.unparse(node.test)
        self.generic_visit(node)
        node.body = self.value(f"if {condition}", node.body)
        node.orelse = self.value(f"if not ({condition})", node.orelse)
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        head = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self.call(head)))
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        head = f"while {ast.unparse(node.test)}"
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self.call(head)))
        return node


class Recording:
    """The branches of all kernels and of their helpers, and those that were reached since it was last cleared."""

    def __init__(self) -> None:
        self.every: set[str] = set()
        self.reached: set[str] = set()


@contextmanager
def recording() -> Iterator[Recording]:
    """Kernels of the interpreter with marks in them."""
    record = Recording()
    transform = interpreter.FunctionRewriter._transform_ast

    def transform_and_mark(self: Any, source: str) -> ast.AST:
        if not self.fn.__module__.startswith(roialign.triton.__name__):
            return transform(self, source)
        marks = _Marks(self.fn.__name__)
        tree = ast.fix_missing_locations(marks.visit(transform(self, source)))
        record.every |= marks.names
        return tree

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.FunctionRewriter, "_transform_ast", transform_and_mark)
        patch.setattr(interpreter.InterpretedFunction, "rewritten_fn", {})
        for module in _modules():
            patch.setitem(vars(module), "_reached", record.reached.add)
        for module in _modules():
            for function in list(vars(module).values()):
                if isinstance(function, interpreter.InterpretedFunction):
                    function.rewrite()
        yield record


def _modules() -> list[Any]:
    package = roialign.triton
    return [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]


def choose(reached: Mapping[str, set[str]], seconds: Mapping[str, float]) -> list[str]:
    """Names that reach all that any does: first what reaches most for its time, then without those that add nothing."""
    left, chosen = set().union(*reached.values()), list[str]()
    while left:
        best = max(reached, key=lambda name: len(reached[name] & left) / (0.3 + seconds[name]))
        chosen.append(best)
        left -= reached[best]
    for name in sorted(chosen, key=lambda name: -seconds[name]):
        others = set().union(*(reached[other] for other in chosen if other != name))
        if reached[name] <= others:
            chosen.remove(name)
    return [name for name in reached if name in chosen]


@contextmanager
def _values_of_constants(found: set[str]) -> Iterator[None]:
    """Also what a kernel's constants are, where they are one of a few."""
    run = interpreter.InterpretedFunction.run

    def noting(self: Any, *arguments: Any, **constants: Any) -> Any:
        spec = constants.get("SPEC")
        for name, value in {**constants, **(spec._asdict() if spec else {})}.items():
            if isinstance(value, (bool, str)) or name.endswith(("VECTOR", "TANGENTS", "KINDS", "LEVELS")):
                found.add(f"{self.fn.__name__}: {name} = {value!r}")
        return run(self, *arguments, **constants)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.InterpretedFunction, "run", noting)
        yield


def main() -> None:
    from tests.triton.interpreter import hold_whole_answers, quick

    reached: dict[str, set[str]] = {}
    seconds: dict[str, float] = {}
    with quick(), recording() as record, _values_of_constants(record.reached), pytest.MonkeyPatch.context() as patch:
        hold_whole_answers(patch)
        for case in SMALL_EVERY_CASE:
            record.reached.clear()
            before = time.process_time()
            check_small_case(case)
            seconds[case.name] = time.process_time() - before
            reached[case.name] = set(record.reached)
            sys.stderr.write(f"{seconds[case.name]:6.2f} s  {len(record.reached):4d}  {case.name}\n")
        never = record.every - set().union(*reached.values())
    # On a map of one pixel, or without boxes, most answers are zero: chosen only for what no other case reaches.
    shows_little = {case.name for case in SMALL_EVERY_CASE if min(map(min, case.maps)) == 1 or not case.kinds}
    chosen = choose(reached, {name: value * (100 if name in shows_little else 1) for name, value in seconds.items()})
    sys.stderr.write("".join(f"never reached: {name}\n" for name in sorted(never)))
    sys.stderr.write(f"{sum(seconds[name] for name in chosen):.0f} s of {sum(seconds.values()):.0f} s\n")
    sys.stdout.write("".join(f'    "{name}",\n' for name in chosen))


if __name__ == "__main__":
    assert os.environ.get("TRITON_INTERPRET") == "1", "set TRITON_INTERPRET=1"
    main()
