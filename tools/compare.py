"""Runs models in onnxruntime and in Unisono on the same files, and compares the answers.

Every value a of ours is held against b of onnxruntime: |a - b| <= 1e-4 |b| + 1e-5 max|b|, the maximum taken over the
output. Integers, shapes and types must be equal.

onnxruntime's own answer to a row depends on the batch that the row is in. Where that alone is more than what is allowed,
the model amplifies rounding beyond it, and no engine can be held to it: such a case is NOISE, neither agreement nor
failure, if we differ from onnxruntime by at most twice as much as it differs from itself. It is counted and shown.
Called by `cargo xtask compare`.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import onnxruntime

import inputs

RELATIVE, OF_LARGEST = 1e-4, 1e-5
SLOWEST_RUN = 600  # seconds


class Failed(Exception):
    """Why there is nothing to compare."""


def share_of_allowed(ours, theirs):
    """The largest error over what is allowed there: at most 1 is agreement; infinite if not comparable."""
    if ours.shape != theirs.shape:
        raise Failed(f"shape {list(ours.shape)}, onnxruntime {list(theirs.shape)}")
    if ours.dtype != theirs.dtype:
        raise Failed(f"type {ours.dtype}, onnxruntime {theirs.dtype}")
    if not np.issubdtype(theirs.dtype, np.floating):
        return 0.0 if np.array_equal(ours, theirs) else np.inf
    if theirs.size == 0:
        return 0.0
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.abs(b[np.isfinite(b)])
    allowed = RELATIVE * np.abs(b) + OF_LARGEST * (finite.max() if finite.size else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(same, 0.0, np.abs(a - b) / allowed)
    return float(np.where(np.isnan(share), np.inf, share).max())


def run_ours(program, model, feeds, folder):
    """The program's answers by output name."""
    shutil.rmtree(folder, ignore_errors=True)
    answers = folder / "out"
    answers.mkdir(parents=True)
    command = [str(program), "run", str(model)]
    for i, (name, value) in enumerate(feeds.items()):
        file = folder / f"input{i}.npy"
        np.save(file, value)
        command += ["--input", f"{name}={file}"]
    command += ["--output-dir", str(answers)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SLOWEST_RUN)
    except subprocess.TimeoutExpired:
        raise Failed(f"unisono run took more than {SLOWEST_RUN} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"unisono run ended with {done.returncode}: {' / '.join(said[:3])}")
    files = json.loads((answers / "outputs.json").read_text())
    return {name: np.load(answers / file) for name, file in files.items()}


def compare_case(session, program, model, feeds, folder):
    """(share of what is allowed, name) of the worst output."""
    names = [output.name for output in session.get_outputs()]
    theirs = dict(zip(names, session.run(names, feeds)))
    ours = run_ours(program, model, feeds, folder)
    if set(ours) != set(theirs):
        raise Failed(f"outputs {sorted(ours)}, onnxruntime {sorted(theirs)}")
    worst = (-1.0, "")
    for name in names:
        try:
            worst = max(worst, (share_of_allowed(ours[name], theirs[name]), name))
        except Failed as why:
            raise Failed(f"output {name}: {why}") from None
    return worst


def spread_of_peer(session, feeds, rows):
    """How far onnxruntime's answers to the rows alone are from its answers in a batch, as a share of what is allowed; 0 if
    the rows are not all on axis 0."""
    names = [output.name for output in session.get_outputs()]
    together = session.run(names, feeds)
    values = [*feeds.values(), *together]
    if rows < 2 or any(value.ndim == 0 or value.shape[0] != rows for value in values):
        return 0.0
    alone = [session.run(names, {name: value[i:i + 1] for name, value in feeds.items()}) for i in range(rows)]
    return max(share_of_allowed(np.concatenate(parts), whole) for parts, whole in zip(zip(*alone), together))


def describe(session, feeds):
    names = [output.name for output in session.get_outputs()]
    for name, value in zip(names, session.run(names, feeds)):
        spread = f"{value.min():.4g} to {value.max():.4g}" if value.size else "empty"
        print(f"    {name}: {value.dtype} {list(value.shape)}, {spread}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--model", action="append", help="this one alone")
    parser.add_argument("--rows", default="1,3,16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for the files in between")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--program", type=pathlib.Path, help="the program unisono")
    how.add_argument("--peer-only", action="store_true")
    options = parser.parse_args()
    rows = [int(count) for count in options.rows.split(",")]
    found = sorted(path for path in options.models.glob("*.onnx") if not path.name.startswith("."))
    if options.model:
        missing = set(options.model) - {path.stem for path in found}
        if missing:
            print(f"not in {options.models}: {', '.join(sorted(missing))}; fetch with `cargo xtask models`", file=sys.stderr)
            return 1
        found = [path for path in found if path.stem in options.model]
    if not found:
        print(f"no model in {options.models}; fetch them with `cargo xtask models`", file=sys.stderr)
        return 1

    onnxruntime.set_default_logger_severity(3)
    print(f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}, seed {options.seed}")
    print(f"{'model':<26} {'rows':>4}  {'inputs':<24} {'worst output':<34} {'error/allowed':>13}  verdict")
    bad = compared = noise = 0
    started = time.monotonic()
    for path in found:
        try:
            makers = [(count, case) for count in rows for case in inputs.cases(path.stem, count, options.seed)]
        except KeyError:
            print(f"{path.stem:<26} {'':>4}  no inputs are known for this model (tools/inputs.py)        COULD-NOT-RUN")
            bad += 1
            continue
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for count, (label, feeds) in makers:
            line = f"{path.stem:<26} {count:>4}  {label:<24}"
            if options.peer_only:
                print(line)
                describe(session, feeds)
                continue
            try:
                share, name = compare_case(session, options.program, path, feeds, options.work)
                compared += 1
            except (Failed, OSError, ValueError) as why:
                print(f"{line} {why}  FAIL", flush=True)
                bad += 1
                continue
            verdict = "ok"
            if share > 1.0:
                spread = spread_of_peer(session, feeds, count)
                verdict = f"NOISE: onnxruntime differs from itself by {spread:.2f}" if 1.0 < spread >= share / 2 else "FAIL"
            bad += verdict == "FAIL"
            noise += verdict.startswith("NOISE")
            print(f"{line} {name[:34]:<34} {share:>13.4f}  {verdict}", flush=True)
    if not options.peer_only:
        print(f"{compared} cases compared, {bad} failed, {noise} lost in onnxruntime's own noise, {time.monotonic() - started:.0f} s")
    return 1 if bad or (not options.peer_only and compared == 0) else 0


if __name__ == "__main__":
    sys.exit(main())
