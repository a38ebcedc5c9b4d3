"""PyTorch on an NVIDIA GPU as engines of the benchmark (bench/peers-rs/src/main.rs has the protocol). Called by
`cargo xtask bench --device cuda:0`, also on a machine that has PyTorch and no more: what its graph is says the file
that torch_graph.py has written beside the model.

- `torch`: eager, a function per operator. Each Python thread has a stream; its input goes to the device and its output comes back
  in every call.
- `torch-graph`: one CUDA graph captured for the request's shape, with both copies in it, launched by one thread: what
  batching by hand can get.

Inputs wait in page-locked memory, which spares PyTorch a copy that an ordinary caller pays. f32 is f32: TF32 is off.
"""

import json
import pathlib
import sys

import torch

import torch_engine


def read(path, device):
    path = pathlib.Path(path)
    if not path.with_suffix(".json").is_file():
        raise ValueError("PyTorch runs the models that are built, not those of others")
    text, file = json.loads(path.with_suffix(".json").read_text()), path.read_bytes()

    def constant(kind, shape, at, size):
        value = torch_engine.tensor(kind, shape, file[at:at + size])
        # Shapes are read by `reshape` as numbers.
        return value.tolist() if kind == "i64" else value.to(device)

    constants = {name: constant(*value) for name, value in text["constants"].items()}
    return torch_engine.Graph(text["calls"], constants, text["outputs"])


class Eager:
    def __init__(self, path, device):
        self.device, self.graph = device, read(path, device)

    def call(self, feeds):
        there = {name: value.to(self.device, non_blocking=True) for name, value in feeds.items()}
        # A copy to memory that is not page-locked returns when it is there.
        return [output.to("cpu") for output in self.graph.run(there)]

    def answer(self, feeds):
        return self.call(feeds)

    def caller(self, feeds):
        mine = {name: value.clone().pin_memory() for name, value in feeds.items()}
        stream = torch.cuda.Stream(self.device)

        def call():
            with torch.cuda.stream(stream):
                self.call(mine)

        return call


class Captured(Eager):
    def capture(self, feeds):
        here = {name: value.clone().pin_memory() for name, value in feeds.items()}
        there = {name: value.to(self.device) for name, value in feeds.items()}
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                outputs = self.graph.run(there)
        torch.cuda.synchronize(self.device)
        back = [torch.empty(output.shape, dtype=output.dtype, pin_memory=True) for output in outputs]
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, stream=stream):
            for name, value in here.items():
                there[name].copy_(value, non_blocking=True)
            for place, output in zip(back, self.graph.run(there)):
                place.copy_(output, non_blocking=True)

        def call():
            with torch.cuda.stream(stream):
                captured.replay()
                stream.synchronize()
            return [place.clone() for place in back]

        # Captured addresses are those of these tensors, which must live as long as the graph.
        call.kept = (here, there, back)
        return call

    def answer(self, feeds):
        return self.capture(feeds)()

    def caller(self, feeds):
        return self.capture(feeds)


def main():
    _, engine, path, inputs, device = sys.argv
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    kind = {"torch": Eager, "torch-graph": Captured}[engine]
    return torch_engine.serve(lambda: kind(path, torch.device(device)), inputs)


if __name__ == "__main__":
    sys.exit(main())
