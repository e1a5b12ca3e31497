from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.serving.executors.base import Arrays
from modelpress.serving.executors.cut import Graph, Piece
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.executors.partition import MICROSECONDS_PER_BYTE, Costs, choose_cuts
from modelpress.serving.executors.stages import PieceExecutor, measure, pieces
from tests.support.serving.artifacts import NAMES, SCHEMES, equal, examples

# beside the models of all tests, two whose pieces LiteRT cannot allocate at the shapes in the file
CUT = (*NAMES, "dilated", "products")


def compute(parts: list[Piece], inputs: Arrays) -> list[Any]:
    values = list(inputs)
    for part in parts:
        values = PieceExecutor(part).run(values)
    return values


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", CUT)
def test_every_cut_gives_the_bits_of_the_whole_model(models: Path, name: str, scheme: str) -> None:
    path = models / f"{name}-{scheme}.tflite"
    whole, graph = LiteRTExecutor(path), Graph(path.read_bytes())
    inputs = {rows: examples(path, rows) for rows in (1, 2, 7, 8, 65)}
    expected = {rows: whole.run(arrays) for rows, arrays in inputs.items()}
    for cut in range(1, len(graph)):
        assert graph.can_cut(cut)
        parts = [PieceExecutor(piece) for piece in pieces(graph, [cut])]
        for rows, arrays in inputs.items():
            values = list(arrays)
            for part in parts:
                values = part.run(values)
            assert equal(values, expected[rows]), f"cut {cut}, {rows} rows"


def test_a_model_can_be_cut_into_single_operators(models: Path) -> None:
    path = models / "two-int8.tflite"
    graph = Graph(path.read_bytes())
    inputs = examples(path, 9)
    parts = pieces(graph, list(range(1, len(graph))))
    assert equal(compute(parts, inputs), LiteRTExecutor(path).run(inputs))


def test_pieces_hold_only_their_own_weights(models: Path) -> None:
    model = (models / "slow-float32.tflite").read_bytes()
    first, second = pieces(Graph(model), [6])
    assert len(first.model) < 0.51 * len(model)
    assert len(second.model) < 0.51 * len(model)


def test_weights_stored_as_float16_never_cross_a_cut(models: Path) -> None:
    crossing = {}
    for scheme in ("float32", "float16"):
        path = models / f"seed-{scheme}.tflite"
        crossing[scheme] = measure(Graph(path.read_bytes()), examples(path, 8)).crossing.tolist()
    assert crossing["float16"] == crossing["float32"] == [8 * 64 * 4, 8 * 64 * 4, 8 * 32 * 4, 8 * 10 * 4]


def test_an_empty_tensor_that_cannot_cross_is_refused(models: Path) -> None:
    path = models / "mask-float32.tflite"
    zeros = [np.zeros(8, np.int32)]
    assert LiteRTExecutor(path).run(zeros)[0].tolist() == [0] * 8
    with pytest.raises(DataError, match=r"^operator \d+ \(RANGE\) cannot be computed apart from") as caught:
        measure(Graph(path.read_bytes()), zeros)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    assert caught.value.message.endswith("accepted is parallelism.pipeline 1")


def test_an_output_that_is_an_input_is_refused(models: Path) -> None:
    data = (models / "seed-float32.tflite").read_bytes()
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, model.subgraphs[0].inputs[0]]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    with pytest.raises(DataError, match="cannot pass on 'images', an output that is not computed") as caught:
        Graph(bytes(builder.Output()))
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize(
    ("times", "crossing", "stages", "cuts"),
    [
        ([5, 5, 5, 5], [0, 0, 0, 0], 1, []),
        ([5, 5, 5, 5], [0, 0, 0, 0], 2, [2]),
        ([5, 5, 5, 5], [0, 0, 0, 0], 4, [1, 2, 3]),
        ([1, 1, 1, 9], [0, 0, 0, 0], 2, [3]),
        ([9, 1, 1, 1], [0, 0, 0, 0], 3, [1, 2]),
        ([9, 1, 1, 9], [0, 400, 100, 400], 2, [2]),  # equally fast: fewest bytes
        ([5, 5, 5, 5], [0, 0, 10**6, 0], 2, [1]),  # copying 1 MB costs more than balance gains
    ],
)
def test_cuts_balance_time_and_then_move_few_bytes(
    times: list[float], crossing: list[float], stages: int, cuts: list[int]
) -> None:
    assert choose_cuts(Costs(np.array(times, float), np.array(crossing, float)), stages) == cuts


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40_000)), min_size=3, max_size=8),
    st.integers(1, 3),
)
def test_no_other_choice_of_cuts_has_a_faster_slowest_stage(
    operators: list[tuple[int, int]], stages: int
) -> None:
    from itertools import combinations, pairwise

    times = np.array([time for time, _ in operators], float)
    crossing = np.array([size for _, size in operators], float)

    def slowest(cuts: list[int]) -> float:
        bounds = pairwise([0, *cuts, len(times)])
        return max(float(times[a:b].sum() + crossing[a] * MICROSECONDS_PER_BYTE) for a, b in bounds)

    chosen = slowest(choose_cuts(Costs(times, crossing), stages))
    best = min(slowest(list(cuts)) for cuts in combinations(range(1, len(times)), stages - 1))
    assert chosen == pytest.approx(best)


def test_more_stages_than_operators_are_refused(models: Path) -> None:
    path = models / "seed-int8.tflite"
    costs = measure(Graph(path.read_bytes()), examples(path, 8))
    with pytest.raises(
        DataError, match="pipeline is 5, but the model has 4 operators: at most 4 stages"
    ) as e:
        choose_cuts(costs, 5)
    assert e.value.reason is Reason.UNSUPPORTED_MODEL
