"""What stays in float, planned on lists of results as LiteRT gives them."""

from dataclasses import replace

import numpy as np
import pytest

from trainer.exporting.plain_network import Operation, PlainNetwork
from trainer.exporting.remedies import REMEDIES, plan_float_results
from trainer.exporting.result_names import Result, view_layers

LAYERS = ("conv_a", "conv_b", "conv_c")
NETWORK = PlainNetwork(
    operations=(
        Operation(kind="scale", name="scaling", inputs=("pixels",)),
        Operation(kind="conv", name="conv_a", inputs=("scaling",)),
        Operation(kind="conv", name="conv_b", inputs=("conv_a",)),
        Operation(kind="depthwise", name="conv_c", inputs=("conv_b",)),
        Operation(kind="silu", name="last", inputs=("conv_c",)),
    ),
    head_kernel=np.zeros((4, 2), np.float32),
    head_bias=np.zeros(2, np.float32),
    image_px=8,
)


def results_of(num_views: int) -> list[Result]:
    """As they stand in a file: one view after the other, averaged at last."""
    results: list[Result] = []

    def add(kind: str, name: str, *inputs: int) -> int:
        tensor = 100 + len(results)
        results.append(Result(kind=kind, name=name, tensor=tensor, inputs=frozenset(inputs)))
        return tensor

    members = []
    for view in range(num_views):
        scope = f"view_{view}"
        x = add("MUL", f"{scope}/mul", 0)
        x = add("ADD", f"{scope}/scaling", x, 1)
        for layer in LAYERS:
            kind = "DEPTHWISE_CONV_2D" if layer == "conv_c" else "CONV_2D"
            x = add(kind, f"{scope}/BiasAdd;{scope}/{layer};{scope}/BiasAdd/ReadVariableOp1", x, 2)
        gate = add("LOGISTIC", f"{scope}/Sigmoid", x)
        x = add("MUL", f"{scope}/last", x, gate)
        if view == 0:
            add("CONV_2D", "StatefulPartitionedCall:0", x, 3)
        x = add("MEAN", f"{scope}/Mean", x)
        x = add("FULLY_CONNECTED", f"{scope}/MatMul;{scope}/add", x, 4)
        members.append(add("SOFTMAX", f"{scope}/Softmax", x))
    add("ADD_N", "StatefulPartitionedCall:1", *members)
    return results


ENDS = replace(REMEDIES[2], float_kinds=())


@pytest.mark.parametrize("num_views", [1, 2, 5])
def test_the_ends_of_every_view_stay_in_float(num_views: int):
    kept = plan_float_results(results_of(num_views), NETWORK, ENDS, ())
    expected = {"StatefulPartitionedCall:0", "StatefulPartitionedCall:1"}
    for view in range(num_views):
        names = ("mul", "scaling", "Mean", "Softmax")
        expected |= {f"view_{view}/{name}" for name in names}
        expected.add(f"view_{view}/MatMul;view_{view}/add")
    assert kept == expected


def test_operations_of_a_kind_stay_in_float():
    kept = plan_float_results(results_of(1), NETWORK, replace(REMEDIES[2], float_ends=False), ())
    assert kept == {"view_0/mul", "view_0/Sigmoid", "view_0/last"}


@pytest.mark.parametrize("num_views", [1, 2])
def test_layers_that_are_in_float_already_are_not_counted(num_views: int):
    remedy = replace(REMEDIES[4], num_float_layers=1)
    results = results_of(num_views)
    worst = ("last", "scaling", "conv_b", "conv_a")
    without = plan_float_results(results, NETWORK, replace(remedy, num_float_layers=0), worst)
    added = plan_float_results(results, NETWORK, remedy, worst) - without
    assert convolutions(added) == {(view, "conv_b") for view in range(num_views)}


@pytest.mark.parametrize("num", [2, 3, 20])
def test_one_convolution_is_quantized_always(num: int):
    remedy = replace(REMEDIES[5], num_float_layers=num)
    kept = plan_float_results(results_of(2), NETWORK, remedy, LAYERS)
    assert convolutions(kept) == {(view, name) for view in (0, 1) for name in LAYERS[:2]}


def convolutions(names: set[str]) -> set[tuple[int, str]]:
    found = {view_layer for name in names for view_layer in view_layers(name)}
    return {(view, layer) for view, layer in found if layer in LAYERS}


def test_names_of_other_tensors_are_no_layers():
    assert view_layers("view_0/BiasAdd;view_0/stem_conv;view_0/BiasAdd/ReadVariableOp1") == {
        (0, "BiasAdd"),
        (0, "stem_conv"),
    }
    assert view_layers("StatefulPartitionedCall:0") == set()
