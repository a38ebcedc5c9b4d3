"""Writes the ONNX project's own operator tests to files that `cargo run --example onnx_suite` reads.

    python tools/dump_onnx_cases.py FOLDER

Needs the packages `onnx` and `numpy`. Every case becomes a folder with `model.onnx` and one file per input and expected output
(`in0`, `in1`, ..., `out0`, ...): a line with the element type and the lengths of the axes, then the elements as little-endian bytes.
An input that is left out is the line `none`. Cases with sequences, maps, strings or optional values are listed in `skipped.txt`.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
from onnx import TensorProto, numpy_helper

NAMES = {
    TensorProto.FLOAT: "f32", TensorProto.DOUBLE: "f64", TensorProto.FLOAT16: "f16", TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "i8", TensorProto.INT16: "i16", TensorProto.INT32: "i32", TensorProto.INT64: "i64",
    TensorProto.UINT8: "u8", TensorProto.UINT16: "u16", TensorProto.UINT32: "u32", TensorProto.UINT64: "u64",
    TensorProto.BOOL: "bool",
}


class Skipped(Exception):
    pass


def element_type(value_info):
    if not value_info.type.HasField("tensor_type"):
        raise Skipped(f"{value_info.name} is no tensor")
    code = value_info.type.tensor_type.elem_type
    if code not in NAMES:
        raise Skipped(f"{value_info.name} has type {TensorProto.DataType.Name(code)}")
    return NAMES[code]


def encode(name, array):
    if array is None:
        return b"none\n"
    if not isinstance(array, (np.ndarray, np.generic)):
        if isinstance(array, (list, dict, tuple)):
            raise Skipped("a value is no tensor")
        array = np.asarray(array)
    array = np.asarray(array)
    shape = array.shape
    if array.dtype == object or array.dtype.kind in "US":
        raise Skipped("a value holds strings")
    line = " ".join([name, *map(str, shape)]) + "\n"
    return line.encode() + np.ascontiguousarray(array).tobytes()


def dump(case, folder):
    graph = case.model.graph
    sets = case.data_sets
    if not sets:
        raise Skipped("no data")
    files = {}
    inputs, outputs = sets[0]
    for i, (info, array) in enumerate(zip(graph.input, inputs)):
        files[f"in{i}"] = encode(element_type(info), array)
    for i, (info, array) in enumerate(zip(graph.output, outputs)):
        files[f"out{i}"] = encode(element_type(info), array)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    (folder / "tolerance").write_text(f"{case.rtol} {case.atol}\n")
    for name, content in files.items():
        (folder / name).write_bytes(content)


def main():
    root = pathlib.Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    written, skipped = 0, []
    for case in node_cases.collect_testcases(None):
        try:
            dump(case, root / case.name)
            written += 1
        except Skipped as reason:
            skipped.append(f"{case.name}: {reason}\n")
    (root / "skipped.txt").write_text("".join(skipped))
    print(f"{written} cases written, {len(skipped)} skipped")


main()
