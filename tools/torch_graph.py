"""Graphs of ONNX files as PyTorch's engines of the benchmark run them, and as a file that can be read without `onnx`.

`python torch_graph.py MODEL.onnx...` writes MODEL.json beside each: the calls, the outputs, and where in the model's file the bytes
of each constant are.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

KINDS = {"float32": "f32", "int32": "i32", "int64": "i64"}


def parts(path):
    """The calls, the constants as arrays, and the outputs."""
    graph = onnx.load(path).graph
    calls = [[node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute}, list(node.input), node.output[0]]
             for node in graph.node]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return calls, constants, [output.name for output in graph.output]


def of_onnx(path):
    """What `torch_engine.Graph` is made of."""
    import torch

    calls, constants, outputs = parts(path)
    # Shapes are read by `reshape` as numbers.
    own = lambda value: value.tolist() if value.dtype == np.int64 else torch.from_numpy(value.copy())
    return calls, {name: own(value) for name, value in constants.items()}, outputs


def write(path):
    calls, constants, outputs = parts(path)
    file = path.read_bytes()

    def place(value):
        # Where the same bytes lie twice, either place will do.
        at = file.find(value.astype(value.dtype.newbyteorder("<")).tobytes())
        assert at >= 0, "the model does not hold its constants as they are"
        return [KINDS[value.dtype.name], "x".join(map(str, value.shape)), at, value.nbytes]

    text = {"calls": calls, "constants": {name: place(value) for name, value in constants.items()}, "outputs": outputs}
    path.with_suffix(".json").write_text(json.dumps(text))


def main():
    for model in sys.argv[1:]:
        write(pathlib.Path(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
