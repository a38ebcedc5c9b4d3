"""PyTorch as an engine of the benchmark: one model in one process, asked by line (bench/peers-rs/src/main.rs has the protocol).

PyTorch reads no ONNX files. The benchmark's own models are therefore run from their graphs, one PyTorch function for each
operator, as eager code would call them; the weights are the same. Called by `cargo xtask bench --engines ...,torch`.
"""

import sys

import torch_graph
import torch_engine


class Eager:
    """On the processor."""

    def __init__(self, path):
        self.graph = torch_engine.Graph(*torch_graph.of_onnx(path))

    def answer(self, feeds):
        return self.graph.run(feeds)

    def caller(self, feeds):
        mine = {name: value.clone() for name, value in feeds.items()}
        return lambda: self.graph.run(mine)


def main():
    _, _engine, path, inputs = sys.argv
    return torch_engine.serve(lambda: Eager(path), inputs)


if __name__ == "__main__":
    sys.exit(main())
