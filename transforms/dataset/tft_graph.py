"""The constants of a graph that tensorflow_transform wrote, read from its bytes: nothing of it is executed."""

from typing import TYPE_CHECKING

import numpy as np

from transforms.dataset.normalization import Normalization

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

TRANSFORM = "transform_fn"  # TFT's name of the function


def read_graph(kind: str, saved_model: bytes, axes: int = 0) -> Normalization:
    """Return what the graph of a kind scales its values by.

    The function of `normalize_mel` takes mean and variance of each band as captured constants, that of
    `normalize_stats` one matrix: mean, deviation, axes.

    Args:
      saved_model: content of saved_model.pb.
      axes: how many principal axes the graph of stats uses.

    Raises:
      ValueError: the bytes are damaged, or of another graph.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        (graph,) = SavedModel.FromString(saved_model).meta_graphs
        constants, takes_root = _constants(graph)
        if kind == "stats":
            ((_, summary),) = constants.items()
            return Normalization(kind, summary[:, 0], summary[:, 1], summary[:, 2 : 2 + axes])
        (deviation,) = (_deviation(values) for name, values in constants.items() if name in takes_root)
        (mean,) = (values for name, values in constants.items() if name not in takes_root)
    except (DecodeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a graph of fma statistics, {error}") from error
    return Normalization(kind, mean.astype(np.float32), deviation.astype(np.float32))


def _deviation(variance: np.ndarray) -> np.ndarray:
    if not (variance >= 0).all():
        raise ValueError("a variance is not a number from 0 on")
    return np.where(variance > 0, np.sqrt(variance), 1.0)


def _constants(graph: "MetaGraphDef") -> tuple[dict[str, np.ndarray], set[str]]:
    """Return TRANSFORM's captured constants by the names of its arguments, and which of these it takes a root of."""
    import tensorflow as tf

    nodes = graph.object_graph_def.nodes
    (own,) = (child.node_id for child in nodes[0].children if child.local_name == TRANSFORM)
    name = nodes[own].bare_concrete_function.concrete_function_name
    captured = graph.object_graph_def.concrete_functions[name].bound_inputs
    (function,) = (found for found in graph.graph_def.library.function if found.signature.name == name)
    arguments = [argument.name for argument in function.signature.input_arg][-len(captured) :]
    values = {node.name: node.attr["value"].tensor for node in graph.graph_def.node if node.op == "Const"}
    operations = [nodes[number].constant.operation for number in captured]
    roots = {name.partition(":")[0] for node in function.node_def if node.op == "Sqrt" for name in node.input}
    found = [tf.make_ndarray(values[operation]) for operation in operations]
    return dict(zip(arguments, found, strict=True)), roots & set(arguments)
