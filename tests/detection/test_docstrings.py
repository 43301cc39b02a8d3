"""Every function of detectors says what it takes and shows how it is called, and every setting says what it is."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap

import pytest

import roialign.detection

PUBLIC = {name: getattr(roialign.detection, name) for name in roialign.detection.__all__}
FUNCTIONS = [name for name, value in PUBLIC.items() if inspect.isfunction(value)]
SETTINGS = [name for name, value in PUBLIC.items() if name.endswith("Settings") and dataclasses.is_dataclass(value)]
#: Functions whose parameters a sentence describes.
IN_PROSE = {"draw_scene", "open_split", "write_scenes"}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in IN_PROSE])
def test_a_function_describes_its_parameters_and_has_an_example(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert "\nExamples\n--------\n>>> " in text.replace("Examples\n--------\n\n", "Examples\n--------\n")
    described = text.partition("\nParameters\n----------\n")[2]
    for parameter in inspect.signature(PUBLIC[name]).parameters:
        assert parameter in described.partition("\n\n")[0], parameter


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_described(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(PUBLIC[name]))).body
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            is_described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert is_described or f"\n{field.target.id} : " in text, field.target.id
