"""Shows that the bits of onnxruntime's answers depend on the batch that a row is in.

One row is run alone, then the same row inside batches of other rows, at every position; the values whose bits differ
from the row alone are counted. Called by `cargo xtask ort-bits`.
"""

import argparse
import os
import pathlib
import platform
import sys

import numpy as np
import onnxruntime

import inputs


def cpu_name():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def batch_axis(model, name):
    return 1 if model == "silero_vad" and name in ("state", "stateN") else 0


def with_row_at(model, alone, others, position):
    """The inputs `others` with the one row of `alone` in place of theirs at `position`."""
    feeds = {}
    for name, value in others.items():
        value = value.copy()
        if value.ndim:
            axis = batch_axis(model, name)
            np.moveaxis(value, axis, 0)[position] = np.moveaxis(alone[name], axis, 0)[0]
        feeds[name] = value
    return feeds


def bits_that_differ(a, b):
    if a.dtype.kind != "f":
        return int((a != b).sum()), 0.0
    differ = a.view(np.uint32 if a.dtype == np.float32 else np.uint64) != b.view(
        np.uint32 if b.dtype == np.float32 else np.uint64)
    largest = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) if a.size else 0.0
    return int(differ.sum()), largest


def show(path, rows, seed, threads):
    model = path.stem
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for label, alone in inputs.cases(model, 1, seed):
        first = session.run(names, alone)
        print(f"\n{model}, {label}")
        print(f"{'rows':>5} {'position':>9} {'values':>8} {'other bits':>11} {'largest difference':>19}")
        for count in rows:
            # Neighbours of another seed: the row under test appears once in the batch.
            others = dict(inputs.cases(model, count, seed + 1))[label]
            positions = list(range(count)) if count <= 4 else [0, 1, count // 2, count - 1]
            for position in positions:
                answers = session.run(names, with_row_at(model, alone, others, position))
                differ, values, largest = 0, 0, 0.0
                for name, answer, reference in zip(names, answers, first):
                    axis = batch_axis(model, name)
                    row = np.ascontiguousarray(np.moveaxis(answer, axis, 0)[position])
                    expected = np.ascontiguousarray(np.moveaxis(reference, axis, 0)[0])
                    if row.shape != expected.shape:
                        raise SystemExit(f"{model}: output {name} has no row axis where it is expected")
                    count_here, largest_here = bits_that_differ(row, expected)
                    differ, values, largest = differ + count_here, values + row.size, max(largest, largest_here)
                print(f"{count:>5} {position:>9} {values:>8} {differ:>11} {largest:>19.2e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path("models"))
    parser.add_argument("--model", action="append", help="magika and minilm if none is named")
    parser.add_argument("--rows", default="1,2,3,8,16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of onnxruntime; 0: its own choice, one per core")
    options = parser.parse_args()
    onnxruntime.set_default_logger_severity(3)
    threads = options.threads or f"one per core ({os.cpu_count()})"
    print(f"onnxruntime {onnxruntime.__version__}, threads: {threads}, {cpu_name()}, {platform.system()} {platform.machine()}")
    for model in options.model or ("magika", "minilm"):
        path = options.models / f"{model}.onnx"
        if not path.is_file():
            print(f"{path} is missing; fetch it with `cargo xtask models`", file=sys.stderr)
            return 1
        show(path, [int(count) for count in options.rows.split(",")], options.seed, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
