"""The states in which the page's numbers are compared with the reference, as they are in the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OPERATORS = (
    "align",
    "align-random",
    "align-exact",
    "align-max",
    "align-max-exact",
    "pool",
    "prroi",
    "crop",
)

#: A state to start from: six bins and a box of 200 x 140 pixels.
START = "map=ramp&operator=align&stride=64&bins=2x3&points=2&aligned=yes&box=100,60,300,200"

#: The part of the address beside the operator, and why it is in the table.
SETTINGS = {
    "the default": "map=photograph&stride=16&bins=7x7&points=2&aligned=yes&box=163,52,297,200",
    "one selected bin": "map=photograph&stride=32&bins=3x4&points=3&aligned=yes&box=150.3,60.7,310.9,215.1&bin=1,2",
    "no half-pixel shift": "map=ramp&stride=32&bins=2x2&points=2&aligned=no&box=100,60,310,215",
    "a box that is lengthened": "map=random&stride=64&bins=2x3&points=0&aligned=no&box=200,100,230,140&bin=0,1",
    "adaptive points": "map=hill&stride=8&bins=3x2&points=0&aligned=yes&box=20.1,30.2,401.3,300.4",
    "the whole image": "map=random&stride=64&bins=5x5&points=1&aligned=yes&box=0,0,512,384",
    "a corner of the image": "map=random&stride=32&bins=4x4&points=2&aligned=no&box=460,350,512,384",
    "one pixel": "map=hill&stride=16&bins=1x1&points=6&aligned=yes&box=255.5,190.5,256.5,191.5",
    "the most bins": "map=photograph&stride=8&bins=14x14&points=4&aligned=yes&box=0.1,0.1,511.9,383.9&bin=13,13",
}


@dataclass(frozen=True)
class State:
    """What a reader has chosen."""

    operator: str
    map: str
    stride: int
    bins: tuple[int, int]
    points: int
    aligned: bool
    box: tuple[float, float, float, float]
    bin: tuple[int, int] | None


def address(operator: str, setting: str) -> str:
    """The part of the address after "#", as the page itself writes it."""
    parts = dict(part.split("=") for part in SETTINGS[setting].split("&"))
    ordered = {"map": parts.pop("map"), "operator": operator, **parts}
    return "&".join(f"{name}={value}" for name, value in ordered.items())


def state_of(text: str) -> State:
    parts = dict(part.split("=") for part in text.split("&"))
    rows, columns = map(int, parts["bins"].split("x"))
    x1, y1, x2, y2 = map(float, parts["box"].split(","))
    chosen: Any = parts.get("bin")
    return State(
        operator=parts["operator"],
        map=parts["map"],
        stride=int(parts["stride"]),
        bins=(rows, columns),
        points=int(parts["points"]),
        aligned=parts["aligned"] == "yes",
        box=(x1, y1, x2, y2),
        bin=None if chosen is None else (int(chosen.split(",")[0]), int(chosen.split(",")[1])),
    )
