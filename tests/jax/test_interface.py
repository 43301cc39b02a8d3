"""What is outside of the operators: XLA's interface in C, and that nobody who does not use JAX loads it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import jax
import pytest

from tests.tables.paths import ROOT

STRUCTURES = {
    "Extension": ("XLA_FFI_Extension_Base", "struct_size type next"),
    "Version": (
        "XLA_FFI_Api_Version",
        "struct_size extensions=extension_start major=major_version minor=minor_version",
    ),
    "ErrorArguments": ("XLA_FFI_Error_Create_Args", "struct_size extensions=extension_start message code=errc"),
    "Api": (
        "XLA_FFI_Api",
        "struct_size extensions=extension_start version=api_version internal=internal_api "
        "create_error=XLA_FFI_Error_Create",
    ),
    "Buffer": ("XLA_FFI_Buffer", "struct_size extensions=extension_start type=dtype data rank sizes=dims"),
    "Text": ("XLA_FFI_ByteSpan", "data=ptr size=len"),
    "Scalar": ("XLA_FFI_Scalar", "type=dtype value"),
    "Array": ("XLA_FFI_Array", "type=dtype size data"),
    "Attributes": (
        "XLA_FFI_Attrs",
        "struct_size extensions=extension_start count=size types names values=attrs",
    ),
    "Buffers": ("XLA_FFI_Args", "struct_size extensions=extension_start count=size kinds=types buffers=args"),
    "CallFrame": (
        "XLA_FFI_CallFrame",
        "struct_size extensions=extension_start api context=ctx stage arguments=args results=rets attributes=attrs",
    ),
    "Metadata": ("XLA_FFI_Metadata", "struct_size version=api_version traits"),
    "MetadataExtension": ("XLA_FFI_Metadata_Extension", "base=extension_base metadata"),
}
VALUES = {
    "DataType::boolean": "XLA_FFI_DataType_PRED",
    "DataType::int32": "XLA_FFI_DataType_S32",
    "DataType::int64": "XLA_FFI_DataType_S64",
    "DataType::uint32": "XLA_FFI_DataType_U32",
    "DataType::uint64": "XLA_FFI_DataType_U64",
    "DataType::float16": "XLA_FFI_DataType_F16",
    "DataType::float32": "XLA_FFI_DataType_F32",
    "DataType::float64": "XLA_FFI_DataType_F64",
    "DataType::bfloat16": "XLA_FFI_DataType_BF16",
    "ErrorCode::invalid_argument": "XLA_FFI_Error_Code_INVALID_ARGUMENT",
    "ErrorCode::resource_exhausted": "XLA_FFI_Error_Code_RESOURCE_EXHAUSTED",
    "ErrorCode::internal": "XLA_FFI_Error_Code_INTERNAL",
    "AttributeType::array": "XLA_FFI_AttrType_ARRAY",
    "AttributeType::scalar": "XLA_FFI_AttrType_SCALAR",
    "AttributeType::text": "XLA_FFI_AttrType_STRING",
    "Extension::metadata": "XLA_FFI_Extension_Metadata",
    "major_version": "XLA_FFI_API_MAJOR",
}


def checks(structures: dict[str, tuple[str, str]]) -> str:
    """A C++ source that compiles only if our structures lie in memory as those of XLA's header do."""
    lines = ['#include "xla/interface.h"', '#include "xla/ffi/api/c_api.h"', "using namespace roialign::xla;"]
    for ours, (theirs, fields) in structures.items():
        for field in fields.split():
            own, _, other = field.partition("=")
            lines.append(f"static_assert(offsetof({ours}, {own}) == offsetof({theirs}, {other or own}));")
            lines.append(f"static_assert(sizeof({ours}::{own}) <= sizeof({theirs}::{other or own}));")
    lines += [
        f"static_assert(static_cast<int>({ours}) == static_cast<int>({theirs}));" for ours, theirs in VALUES.items()
    ]
    lines.append("static_assert(minor_version <= XLA_FFI_API_MINOR);")
    return "\n".join(lines)


def compile_only(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "the core was built with a C++ compiler"
    file = folder / "layout.cpp"
    file.write_text(source, encoding="utf-8")
    includes = [f"-I{ROOT / 'cpp'}", f"-I{jax.ffi.include_dir()}", f"-I{sysconfig.get_path('include')}"]
    return subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", *includes, str(file)], capture_output=True, text=True, check=False
    )


def test_our_structures_are_those_of_xla(tmp_path: Path) -> None:
    done = compile_only(checks(STRUCTURES), tmp_path)
    assert done.returncode == 0, done.stderr


def test_another_layout_is_seen(tmp_path: Path) -> None:
    name, fields = STRUCTURES["Scalar"]
    wrong = {"Scalar": (name, fields.replace("type=dtype value", "type=value value=dtype"))}
    assert re.search("static.assert", compile_only(checks(wrong), tmp_path).stderr)


def test_every_field_is_compared() -> None:
    text = (ROOT / "cpp" / "xla" / "interface.h").read_text(encoding="utf-8")
    assert set(re.findall(r"^struct (\w+) \{", text, re.MULTILINE)) == set(STRUCTURES)


@pytest.mark.parametrize(
    "code",
    [
        "import numpy, roialign; roialign.roi_align(numpy.ones((1, 1, 4, 4)), numpy.ones((1, 5)) * [0, 1, 1, 2, 2], 1)",
        "import torch, roialign; roialign.roi_align(torch.ones(1, 1, 4, 4), torch.zeros(1, 5), 1)",
    ],
)
def test_jax_is_loaded_only_by_those_who_use_it(code: str) -> None:
    code += "; import sys; assert not [name for name in sys.modules if name.partition('.')[0] in ('jax', 'jaxlib')]"
    subprocess.run([sys.executable, "-c", code], check=True)
