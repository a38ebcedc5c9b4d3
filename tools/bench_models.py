"""Builds the models of the benchmark and the requests that are timed, for `cargo xtask bench`.

Weights are random and seeded: speed does not depend on their values, as long as no activation leaves the range of a trained network
(an engine would then meet denormals, infinities or zeros that no user has). So linear layers have He's initialisation, the last
convolution of a residual branch a fifth of it, and onnxruntime must find outputs whose spread is near 1.

The graphs are what exporters leave: opset 17, a dynamic batch axis, batch norms folded into the convolutions before them
(as PyTorch's exporter does for inference), Gemm for linear layers on matrices, MatMul and Add for those on sequences,
LayerNormalization, HardSwish and HardSigmoid as operators.

For every model and number of rows, OUT/inputs/MODEL/ROWS/ gets the tensors of one request (the first kind that
inputs.py knows): `inputs.txt` lists them, `0.bin`, `1.bin`, ... hold their values.
"""

import argparse
import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import inputs

OPSET = 17


class Graph:
    """A graph under construction; every method adds nodes and returns the name of their result."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def op(self, kind, *operands, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(operands), [name], f"{kind}_{name}", **attributes))
        return name

    def weights(self, *shape, fan_in, gain=1.0):
        return self.constant(self.rng.normal(0, gain * np.sqrt(2 / fan_in), shape).astype(np.float32))

    def bias(self, width):
        return self.constant(self.rng.normal(0, 0.05, width).astype(np.float32))

    def gemm(self, x, a, b):
        return self.op("Gemm", x, self.weights(b, a, fan_in=a), self.bias(b), transB=1)

    def linear(self, x, a, b, gain=1.0):
        return self.op("Add", self.op("MatMul", x, self.weights(a, b, fan_in=a, gain=gain)), self.bias(b))

    def conv(self, x, a, b, kernel, stride=1, groups=1, gain=1.0, axes=2):
        fan_in = a // groups * kernel**axes
        w = self.weights(b, a // groups, *[kernel] * axes, fan_in=fan_in, gain=gain)
        return self.op("Conv", x, w, self.bias(b), kernel_shape=[kernel] * axes, strides=[stride] * axes,
                       pads=[kernel // 2] * (2 * axes), dilations=[1] * axes, group=groups)

    def norm(self, x, width):
        scale = self.constant(self.rng.uniform(0.9, 1.1, width).astype(np.float32))
        return self.op("LayerNormalization", x, scale, self.bias(width), axis=-1, epsilon=1e-5)

    def shape(self, *lengths):
        return self.constant(np.array(lengths, np.int64))

    def model(self, row, result, columns):
        """The finished model: input x [batch, *row], output y [batch, columns] or, for sequences, [batch, *columns]."""
        self.nodes[-1].output[0] = "y"
        assert result == f"v{len(self.nodes) - 1}"
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *row])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *columns])
        graph = helper.make_graph(self.nodes, "main", [x], [y], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def mlp(g):
    h = g.op("Relu", g.gemm("x", 512, 1024))
    h = g.op("Relu", g.gemm(h, 1024, 1024))
    return g.model([512], g.gemm(h, 1024, 512), [512])


def transformer(g, d=256, heads=4, wide=1024, layers=2, length=32):
    def split(x, order):
        return g.op("Transpose", g.op("Reshape", x, g.shape(0, 0, heads, d // heads)), perm=order)

    x = "x"
    root = g.constant(np.array(np.sqrt(d / heads), np.float32))
    for _ in range(layers):
        q = split(g.linear(x, d, d, 0.7), [0, 2, 1, 3])
        k = split(g.linear(x, d, d, 0.7), [0, 2, 3, 1])
        v = split(g.linear(x, d, d, 0.7), [0, 2, 1, 3])
        weights = g.op("Softmax", g.op("Div", g.op("MatMul", q, k), root), axis=-1)
        mixed = g.op("Transpose", g.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        mixed = g.linear(g.op("Reshape", mixed, g.shape(0, 0, d)), d, d, 0.7)
        x = g.norm(g.op("Add", x, mixed), d)
        x = g.norm(g.op("Add", x, g.linear(g.op("Relu", g.linear(x, d, wide)), wide, d, 0.7)), d)
    return g.model([length, d], x, [length, d])


def conv1d(g):
    h = g.op("Relu", g.conv("x", 64, 128, 3, axes=1))
    h = g.op("Relu", g.conv(h, 128, 128, 3, axes=1))
    h = g.op("Flatten", g.op("GlobalAveragePool", h), axis=1)
    return g.model([64, 128], g.gemm(h, 128, 64), [64])


def resnet50(g):
    x = g.op("Relu", g.conv("x", 3, 64, 7, stride=2))
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for stage, (inner, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            # The version that is usual today has the stride in the 3x3 convolution.
            stride = 2 if stage > 0 and block == 0 else 1
            h = g.op("Relu", g.conv(x, width, inner, 1))
            h = g.op("Relu", g.conv(h, inner, inner, 3, stride=stride))
            h = g.conv(h, inner, 4 * inner, 1, gain=0.2)
            if block == 0:
                x = g.conv(x, width, 4 * inner, 1, stride=stride, gain=0.7)
            width = 4 * inner
            x = g.op("Relu", g.op("Add", h, x))
    x = g.op("Flatten", g.op("GlobalAveragePool", x), axis=1)
    return g.model([3, 224, 224], g.gemm(x, 2048, 1000), [1000])


# Howard et al., Searching for MobileNetV3 (2019), table 1: kernel, expanded width, width, squeeze (its width or 0), activation, stride.
MOBILE_BLOCKS = [
    (3, 16, 16, 0, "Relu", 1), (3, 64, 24, 0, "Relu", 2), (3, 72, 24, 0, "Relu", 1), (5, 72, 40, 24, "Relu", 2),
    (5, 120, 40, 32, "Relu", 1), (5, 120, 40, 32, "Relu", 1), (3, 240, 80, 0, "HardSwish", 2), (3, 200, 80, 0, "HardSwish", 1),
    (3, 184, 80, 0, "HardSwish", 1), (3, 184, 80, 0, "HardSwish", 1), (3, 480, 112, 120, "HardSwish", 1),
    (3, 672, 112, 168, "HardSwish", 1), (5, 672, 160, 168, "HardSwish", 2), (5, 960, 160, 240, "HardSwish", 1),
    (5, 960, 160, 240, "HardSwish", 1),
]


def mobilenet_v3_large(g):
    x, width = g.op("HardSwish", g.conv("x", 3, 16, 3, stride=2)), 16
    for kernel, wide, out, squeeze, activation, stride in MOBILE_BLOCKS:
        h = x
        if wide != width:
            h = g.op(activation, g.conv(h, width, wide, 1))
        h = g.op(activation, g.conv(h, wide, wide, kernel, stride=stride, groups=wide))
        if squeeze:
            s = g.op("Relu", g.conv(g.op("GlobalAveragePool", h), wide, squeeze, 1))
            s = g.op("HardSigmoid", g.conv(s, squeeze, wide, 1), alpha=1 / 6, beta=0.5)
            h = g.op("Mul", s, h)
        residual = stride == 1 and width == out
        h = g.conv(h, wide, out, 1, gain=0.4 if residual else 1.0)
        x, width = (g.op("Add", h, x) if residual else h), out
    x = g.op("HardSwish", g.conv(x, width, 960, 1))
    x = g.op("Flatten", g.op("GlobalAveragePool", x), axis=1)
    x = g.op("HardSwish", g.gemm(x, 960, 1280))
    return g.model([3, 224, 224], g.gemm(x, 1280, 1000), [1000])


BUILT = {"mlp": mlp, "transformer": transformer, "conv1d": conv1d, "resnet50": resnet50, "mobilenet_v3_large": mobilenet_v3_large}


def write_request(folder, feeds):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = []
    for i, (name, value) in enumerate(feeds.items()):
        kind = {"float32": "f32", "int32": "i32", "int64": "i64"}[value.dtype.name]
        lines.append(f"{kind} {'x'.join(map(str, value.shape))} {name}\n")
        value.astype(value.dtype.newbyteorder("<")).tofile(folder / f"{i}.bin")
    (folder / "inputs.txt").write_text("".join(lines))


def spread(path, feeds):
    """The standard deviation of the floating-point outputs."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return max(float(value.std()) for value in session.run(None, feeds) if value.dtype == np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--real", type=pathlib.Path, required=True, help="folder of the models that are not built here")
    parser.add_argument("cases", nargs="+", metavar="MODEL:ROWS,ROWS")
    options = parser.parse_args()
    onnxruntime.set_default_logger_severity(3)
    options.out.mkdir(parents=True, exist_ok=True)
    for case in options.cases:
        name, rows = case.split(":")
        path = options.out / f"{name}.onnx"
        if name in BUILT:
            onnx.save(BUILT[name](Graph(list(name.encode()))), path)
        else:
            shutil.copyfile(options.real / f"{name}.onnx", path)
        for count in map(int, rows.split(",")):
            _, feeds = next(iter(inputs.cases(name, count, 1)))
            write_request(options.out / "inputs" / name / str(count), feeds)
        found = spread(path, feeds)
        if name in BUILT and not 0.05 < found < 20:
            print(f"{name}: outputs have a standard deviation of {found:.1e}, too far from 1", file=sys.stderr)
            return 1
        print(f"  {name}: {path.stat().st_size / 1e6:.1f} MB, outputs spread {found:.2f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
