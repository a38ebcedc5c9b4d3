"""What both PyTorch engines of the benchmark share: graphs run operator by operator, the closed loop, and the protocol
(bench/peers-rs/src/main.rs has it). Needs PyTorch and nothing else, since one of them runs where nothing can be installed.
"""

import ctypes
import json
import math
import pathlib
import sys
import threading
import time

import torch
import torch.nn.functional as F


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

DTYPES = {"f32": torch.float32, "i32": torch.int32, "i64": torch.int64}


class Graph:
    """A list of calls, each (operator, attributes, names of operands, name of the result); any number of threads may run it."""

    def __init__(self, calls, constants, outputs):
        unknown = {operator for operator, *_ in calls} - OPERATORS.keys()
        if unknown:
            raise ValueError(f"no PyTorch function is known here for {', '.join(sorted(unknown))}")
        self.calls = [(OPERATORS[operator], *rest) for operator, *rest in calls]
        self.constants = constants
        self.outputs = outputs

    def run(self, feeds):
        values = {**self.constants, **feeds}
        for function, attributes, operands, result in self.calls:
            values[result] = function(attributes, *[values[name] for name in operands])
        return [values[name] for name in self.outputs]


def tensor(kind, shape, data):
    """A tensor of bytes as they lie in files, with `shape` as `2x3`, or empty for a scalar."""
    shape = [int(length) for length in shape.split("x")] if shape else []
    return torch.frombuffer(bytearray(data), dtype=DTYPES[kind]).reshape(shape)


def request(folder):
    """The inputs of a request of so many rows, by name."""
    feeds = {}
    for i, line in enumerate((folder / "inputs.txt").read_text().splitlines()):
        kind, shape, name = line.split(" ", 2)
        feeds[name] = tensor(kind, shape, (folder / f"{i}.bin").read_bytes())
    return feeds


def write_answer(outputs, folder):
    for i, output in enumerate(outputs):
        output = output.to(torch.float32).contiguous()
        (folder / f"{i}.f32").write_bytes(ctypes.string_at(output.data_ptr(), output.nbytes))
    return {"outputs": len(outputs)}


def measure(caller, callers, rows, warm_up, seconds):
    """A closed loop: callers run freely, and a window is laid over what they do. It is open until each can have been answered.
    Every thread calls `caller()`, which gives it what it calls again and again."""
    answers = [[] for _ in range(callers)]
    over = threading.Event()
    failed = []

    def loop(own):
        try:
            # Whether gradients are wanted is a setting of each thread.
            with torch.inference_mode():
                call = caller()
                while not over.is_set():
                    asked = time.perf_counter()
                    call()
                    now = time.perf_counter()
                    own.append((now, now - asked))
        except Exception as error:  # told by the thread that waits
            failed.append(error)

    def wait(enough, span):
        until = time.perf_counter() + span
        while not failed and ((left := until - time.perf_counter()) > 0 or not enough()):
            time.sleep(min(max(left, 0.001), 0.1))

    threads = [threading.Thread(target=loop, args=(own,), daemon=True) for own in answers]
    for thread in threads:
        thread.start()
    wait(lambda: all(answers), warm_up)
    opened, before = time.perf_counter(), sum(map(len, answers))
    wait(lambda: sum(map(len, answers)) - before >= callers, seconds)
    closed = time.perf_counter()
    over.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    latencies = sorted(latency for own in answers for at, latency in own if opened <= at < closed)
    # A request counts by the part of its time that lies in the window: whole answers would be off by a batch of them.
    part = lambda at, latency: max(min(at, closed) - max(at - latency, opened), 0) / latency
    parts = sum(part(at, latency) for own in answers for at, latency in own)
    quantile = lambda share: 1e3 * latencies[max(math.ceil(share * len(latencies)), 1) - 1]
    return {"rows_per_s": parts * rows / (closed - opened), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
            "requests": len(latencies)}


def serve(load, inputs):
    """Answers one line for every line. `load` gives the engine, which has `answer(feeds)`, the outputs in the host's memory, and
    `caller(feeds)`, a function that sends the request and waits for its answer."""
    inputs = pathlib.Path(inputs)

    def say(value):
        print(json.dumps(value), flush=True)

    def obey(engine, line):
        verb, *words = line.split(" ", 4)
        feeds = request(inputs / words[1 if verb == "time" else 0])
        if verb == "answer":
            with torch.inference_mode():
                return write_answer(engine.answer(feeds), pathlib.Path(" ".join(words[1:])))
        if verb == "time":
            callers, rows = int(words[0]), int(words[1])
            return measure(lambda: engine.caller(feeds), callers, rows, float(words[2]), float(words[3]))
        raise ValueError(f"no such request: {line}")

    try:
        engine = load()
    except Exception as error:  # whoever asked wants to know, whatever it is
        say({"error": str(error) or type(error).__name__})
        return 1
    say({"version": torch.__version__})
    for line in sys.stdin:
        try:
            say(obey(engine, line.strip()))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
    return 0
