"""How the results of a network's layers are named in LiteRT files.

Every view computes the network once, in a scope of its own.
"""

import re
from dataclasses import dataclass
from typing import Any

_LAYER = re.compile(r"view_(\d+)/([^/]+)")


def view_scope(view: int) -> str:
    """The scope of a view by its place among the views; names of results are `<scope>/<layer>`."""
    return f"view_{view}"


def view_layers(name: str) -> set[tuple[int, str]]:
    """(view, layer) of all that a tensor's name tells of.

    The converter joins the names of what it has joined: `view_0/BiasAdd;view_0/stem_conv;...`.
    """
    found = (_LAYER.fullmatch(part) for part in name.split(";"))
    return {(int(match[1]), match[2]) for match in found if match}


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What an operation of a LiteRT file computes; tensors are numbered."""

    kind: str
    """LiteRT's name of the operation."""
    name: str
    """Of the tensor."""
    tensor: int
    inputs: frozenset[int]
    """Tensors that the operation reads, its constants among them."""


def read_results(interpreter: Any) -> list[Result]:
    """The first results of a LiteRT interpreter's operations, in the order they are computed.

    Constants are left out: a kernel bears the name of its layer too.
    """
    names = {entry["index"]: entry["name"] for entry in interpreter.get_tensor_details()}
    return [
        Result(
            kind=operation["op_name"],
            name=names[int(operation["outputs"][0])],
            tensor=int(operation["outputs"][0]),
            inputs=frozenset(int(index) for index in operation["inputs"]),
        )
        for operation in interpreter._get_ops_details()
        if len(operation["outputs"])
    ]
