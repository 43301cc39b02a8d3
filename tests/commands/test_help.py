"""The command line as people expect it: help, version, completion, and the examples in all of them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import roialign
from roialign._extras import PARTS
from roialign.commands.app import app
from roialign.features import make_backbone
from tests.tables.paths import ROOT

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def help_of(name: str) -> str:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.stdout


def test_the_version_is_said() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"roialign {roialign.__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_readable_in_80_columns(name: str) -> None:
    lines = help_of(name).partition("Options:")[2].partition("Examples:")[0].splitlines()
    assert all(len(line) <= 80 for line in lines)
    indents = [len(line) - len(line.lstrip()) for line in lines if line.startswith("      ")]
    assert max(indents, default=0) <= 34, "texts have at least 46 letters beside the names"
    assert not re.search(r"<(str|int|float|path|int range|float range)>", "\n".join(lines)), "words for programmers"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name: str) -> None:
    for option in COMMANDS[name].params:
        if option.name != "help":
            assert option.help, option.name
            assert not re.match(r"(What|How|Which|The (highest|largest|lowest)) ", option.help), option.help
            assert option.help.endswith("."), option.help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_each_in_full(name: str) -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    (line,) = re.findall(rf"^  {name} +(.*)$", text, re.MULTILINE)
    assert line.endswith("."), "not cut"
    assert not line.endswith("...")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_are_commands(name: str) -> None:
    """The options exist; the page of the first hour runs the like of them."""
    examples = help_of(name).partition("Examples:")[2].replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in examples.splitlines()]
    commands = [words for words in lines if words]
    assert any(words[:2] == ["roialign", name] for words in commands)
    for words in commands:
        assert words[0] == "roialign"
        known = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words


def complete(words: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    environment = {
        **os.environ,
        "_ROIALIGN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    program = [sys.executable, "-m", "roialign"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_shells_complete_commands_options_and_words() -> None:
    assert complete("roialign e") == ["extract", "evaluate", "export"]
    assert "--learning-rate" in complete("roialign train --le")
    assert complete("roialign train --model c") == ["cascade-rcnn", "cascade-mask-rcnn"]
    # typer asks which shell it was called from, which a test may not be.
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    program = [sys.executable, "-m", "roialign", "--show-completion", "bash"]
    script = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert "_ROIALIGN_COMPLETE=complete_bash" in script.stdout


def test_the_packages_of_the_parts_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()

    def requirements(extra: str) -> set[str]:
        found: set[str] = set()
        listed = re.search(rf"^{extra} = (\[.*?\])$", project, re.MULTILINE | re.DOTALL)
        assert listed
        for requirement in ast.literal_eval(listed[1]):
            nested = re.fullmatch(r"roialign\[(.*)\]", requirement)
            found |= set().union(*map(requirements, nested[1].split(","))) if nested else {requirement}
        return found

    for part, (_, packages) in PARTS.items():
        besides = requirements("detection") - requirements("torch") if part == "timm" else set()
        assert set(packages.values()) == requirements(part) - besides


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("roialign.torch", "roialign.torch"),
        ("roialign.compat.detectron2", "roialign.torch"),
        ("roialign.compat.mmcv", "roialign.torch"),
        ("roialign.compat.torchvision", "roialign.torch"),
        ("roialign.detection", "roialign.detection"),
    ],
)
def test_without_torch_its_modules_say_what_to_install(module: str, named: str) -> None:
    script = f"import sys; sys.modules['torch'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    text = f"{named} needs torch, which is not installed: pip install 'torch>=2.11'"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {text}"


@pytest.mark.parametrize(
    ("backbone", "named"),
    [
        ("program:model.pt2", "roialign.torch"),
        ("detector:run", "roialign.detection"),
        ("timm:resnet18", "a backbone of timm"),
        ("hf:model", "a backbone of Hugging Face"),
    ],
)
def test_without_torch_its_backbones_say_what_to_install(
    backbone: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=f"^{named} needs torch.*: pip install 'torch>=2.11'"):
        make_backbone(backbone)


@pytest.mark.parametrize(
    ("missing", "backbone", "text"),
    [
        ("torch", "hf:model", "Hugging Face needs torch, which is not installed: pip install 'torch>=2.11'"),
        ("google", "pixels", "an installed package needs it"),
    ],
)
def test_a_missing_package_is_one_line(missing: str, backbone: str, text: str, tmp_path: Path) -> None:
    script = f"""
import sys; sys.modules['{missing}'] = None
import roialign.features.pixels
from roialign.commands.main import main
class Backbone:
    def __init__(self, options):
        import google.api
roialign.features.pixels.PixelBackbone = Backbone
main()
"""
    words = ["extract", str(ROOT / "examples" / "astronaut.png"), "--boxes", "grid:1x1", "--backbone", backbone]
    program = [sys.executable, "-c", script, *words, "--out", str(tmp_path / "out")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f"{text}\n")
    assert done.stderr.count("\n") == 1


def test_without_torch_the_rest_can_be_imported() -> None:
    """All public modules but those above."""
    modules = "roialign, roialign.compat.onnx, roialign.features, roialign.commands.app"
    script = f"import sys; sys.modules['torch'] = None; import {modules}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a PyTorch without CUDA")
def test_info_says_why_triton_does_not_run_here() -> None:
    text = " ".join(CliRunner().invoke(app, ["info"], env={"COLUMNS": "160"}).stdout.split())
    assert "backend triton not ready: it needs CUDA tensors, and " in text
    assert "not part of roialign" not in text


def test_the_commands_of_the_readme_run_in_a_clone(tmp_path: Path) -> None:
    """Those for images as they stand; the page of the first hour runs those for detectors."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [words for line in lines if (words := shlex.split(line, comments=True)) and words[0] == "roialign"]
    assert {words[1] for words in commands} >= {"extract", "info"}
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for words in commands:
        if not words[1].startswith("-"):
            known = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known, words
        if words[1] in ("extract", "info", "--help"):
            program = [sys.executable, "-m", "roialign", *words[1:]]
            done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), words


def test_the_help_of_a_function_names_cuda_devices() -> None:
    text = roialign.roi_align.__doc__ or ""
    assert "a torch tensor on the CPU or a CUDA device" in text
    assert '"triton" (default on a CUDA device)' in text
