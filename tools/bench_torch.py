"""PyTorch as an engine of the benchmark: one model in one process, asked by line (bench/peers-rs/src/main.rs has the protocol).

PyTorch reads no ONNX files. The benchmark's own models are therefore run from their graphs, one PyTorch function for each
operator, as eager code would call them; the weights are the same. Called by `cargo xtask bench --engines ...,torch`.
"""

import json
import pathlib
import sys
import threading
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper


def conv(a, x, w, b):
    n = len(a["kernel_shape"])
    # Every convolution of the benchmark's models pads both ends alike.
    assert a["pads"][:n] == a["pads"][n:]
    kind = {1: F.conv1d, 2: F.conv2d}[n]
    return kind(x, w, b, a["strides"], a["pads"][:n], a["dilations"], a["group"])


def max_pool(a, x):
    assert a["pads"][:2] == a["pads"][2:]
    return F.max_pool2d(x, a["kernel_shape"], a["strides"], a["pads"][:2])


def gemm(a, x, w, b):
    assert a == {"transB": 1}
    return F.linear(x, w, b)


def reshape(a, x, shape):
    return x.reshape([x.shape[i] if length == 0 else length for i, length in enumerate(shape)])


def hard_sigmoid(a, x):
    assert abs(a["alpha"] - 1 / 6) < 1e-6 and a["beta"] == 0.5
    return F.hardsigmoid(x)


OPERATORS = {
    "Add": lambda a, x, y: x + y,
    "Conv": conv,
    "Div": lambda a, x, y: x / y,
    "Flatten": lambda a, x: x.flatten(a["axis"]),
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda a, x: F.hardswish(x),
    "LayerNormalization": lambda a, x, scale, bias: F.layer_norm(x, scale.shape, scale, bias, a["epsilon"]),
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": max_pool,
    "Mul": lambda a, x, y: x * y,
    "Relu": lambda a, x: F.relu(x),
    "Reshape": reshape,
    "Softmax": lambda a, x: F.softmax(x, a["axis"]),
    "Transpose": lambda a, x: x.permute(a["perm"]),
}


class Model:
    """A graph as a list of calls; any number of threads may run it."""

    def __init__(self, path):
        graph = onnx.load(path).graph
        self.constants = {}
        for tensor in graph.initializer:
            value = numpy_helper.to_array(tensor)
            # Shapes are read by `reshape` as numbers.
            self.constants[tensor.name] = value.tolist() if value.dtype == np.int64 else torch.from_numpy(value.copy())
        unknown = {node.op_type for node in graph.node} - OPERATORS.keys()
        if unknown:
            raise ValueError(f"no PyTorch function is known here for {', '.join(sorted(unknown))}")
        self.calls = []
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            self.calls.append((OPERATORS[node.op_type], attributes, list(node.input), node.output[0]))
        self.outputs = [output.name for output in graph.output]

    def run(self, feeds):
        values = {**self.constants, **feeds}
        for function, attributes, operands, result in self.calls:
            values[result] = function(attributes, *[values[name] for name in operands])
        return [values[name] for name in self.outputs]


def request(folder):
    feeds = {}
    for i, line in enumerate((folder / "inputs.txt").read_text().splitlines()):
        kind, shape, name = line.split(" ", 2)
        dtype = {"f32": "<f4", "i32": "<i4", "i64": "<i8"}[kind]
        value = np.fromfile(folder / f"{i}.bin", dtype).reshape([int(length) for length in shape.split("x")])
        feeds[name] = torch.from_numpy(value)
    return feeds


def answer(model, feeds, folder):
    outputs = model.run(feeds)
    for i, output in enumerate(outputs):
        output.contiguous().numpy().astype("<f4").tofile(folder / f"{i}.f32")
    return {"outputs": len(outputs)}


def measure(model, feeds, callers, rows, warm_up, seconds):
    """A closed loop: callers run freely, and a window is laid over what they do. It is open until each can have been answered."""
    answers = [[] for _ in range(callers)]
    over = threading.Event()

    def caller(own):
        mine = {name: value.clone() for name, value in feeds.items()}
        # Whether gradients are wanted is a setting of each thread.
        with torch.inference_mode():
            while not over.is_set():
                asked = time.perf_counter()
                model.run(mine)
                now = time.perf_counter()
                own.append((now, now - asked))

    def wait(enough, span):
        until = time.perf_counter() + span
        while (left := until - time.perf_counter()) > 0 or not enough():
            time.sleep(min(max(left, 0.001), 0.1))

    threads = [threading.Thread(target=caller, args=(own,), daemon=True) for own in answers]
    for thread in threads:
        thread.start()
    wait(lambda: all(answers), warm_up)
    opened, before = time.perf_counter(), sum(map(len, answers))
    wait(lambda: sum(map(len, answers)) - before >= callers, seconds)
    closed = time.perf_counter()
    over.set()
    for thread in threads:
        thread.join()
    latencies = sorted(latency for own in answers for at, latency in own if opened <= at < closed)
    quantile = lambda share: 1e3 * latencies[max(int(np.ceil(share * len(latencies))), 1) - 1]
    return {"rows_per_s": len(latencies) * rows / (closed - opened), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
            "requests": len(latencies)}


def obey(model, inputs, line):
    verb, *words = line.split(" ", 4)
    if verb == "answer":
        with torch.inference_mode():
            return answer(model, request(inputs / words[0]), pathlib.Path(" ".join(words[1:])))
    if verb == "time":
        callers, rows = int(words[0]), int(words[1])
        return measure(model, request(inputs / words[1]), callers, rows, float(words[2]), float(words[3]))
    raise ValueError(f"no such request: {line}")


def main():
    _, _engine, path, inputs = sys.argv

    def say(value):
        print(json.dumps(value), flush=True)

    try:
        model = Model(path)
    except Exception as error:  # whoever asked wants to know, whatever it is
        say({"error": str(error)})
        return 1
    say({"version": torch.__version__})
    for line in sys.stdin:
        try:
            say(obey(model, pathlib.Path(inputs), line.strip()))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
