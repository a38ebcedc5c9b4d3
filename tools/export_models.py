"""Makes the models that PyTorch exports: the verification suite's own shapes, ResNet-50 and MobileNetV3, as ONNX files.

What it is for: real exporters fold the batch into other axes, name shapes oddly and leave idioms behind that no
hand-written graph has. Each model is therefore exported twice, by PyTorch's classic exporter (NAME.onnx) and, where that
works, by its newer one (NAME_dynamo.onnx). The batch axis is dynamic; opset 17, the newer exporter's lowest being 18.

Weights are random and seeded per model, as PyTorch initialises them. The two image networks would then run far out of
the range of a trained network: with batch norms that assume mean 0 and variance 1, fifty layers let activations grow
or die. So their batch norms get random scales (0.5 to 1.5) and offsets, and then the statistics that a seeded batch of
images really has at each layer, measured in one pass, and their linear layers He's initialisation (MobileNetV3's own,
a hundredth, would leave the rows of a batch nearly equal). The outputs then spread as a trained network's logits do.
The last batch norm of a residual branch of ResNet-50 gets a smaller scale (0.1 to 0.3), as training from zero there does:
with 0.5 to 1.5 the network amplifies rounding so much that PyTorch in f32 and onnxruntime differ by 1.2 times what
`cargo xtask compare` allows, and a comparison would say nothing about either.

Needs torch, torchvision, onnxscript and onnxruntime as pinned in tools/requirements-export.txt.
Called by `cargo xtask models --exported`.
"""

import argparse
import contextlib
import hashlib
import io
import logging
import pathlib
import sys
import time
import warnings

CLASSIC_OPSET = 17
DYNAMO_OPSET = 18

# name: (row shape, what it is)
MODELS = {
    "transformer": ((32, 256), "2 encoder layers, d 256, 4 heads, feed-forward 1024, ReLU, post-norm"),
    "mlp": ((512,), "512-1024-1024-512, ReLU"),
    "seed_mlp": ((256,), "256-512-512-256, ReLU"),
    "conv1d": ((64, 128), "Conv1d 64-128-128, kernel 3, ReLU, mean over time, Linear 128-64"),
    "seed_conv1d": ((1, 1024), "Conv1d 1-64-64-1, kernel 3, ReLU"),
    "resnet50": ((3, 224, 224), "torchvision's ResNet-50, random weights"),
    "mobilenet_v3_large": ((3, 224, 224), "torchvision's MobileNetV3-Large, random weights"),
}


def build(name):
    """The model `name`, seeded, ready for inference."""
    import torch
    from torch import nn

    torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))

    def chain(widths):
        layers = []
        for a, b in zip(widths, widths[1:]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    if name == "transformer":
        # One after another, not nn.TransformerEncoder: that one has a shortcut for padding which no exporter takes.
        layers = [nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True) for _ in range(2)]
        model = nn.Sequential(*layers)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                # Biases and norms start as zeros and ones, which would hide a bias that is dropped or applied twice.
                nn.init.uniform_(parameter, -0.1, 0.1).add_(1.0 if is_norm_scale(model, parameter) else 0.0)
    elif name == "mlp":
        model = chain([512, 1024, 1024, 512])
    elif name == "seed_mlp":
        model = chain([256, 512, 512, 256])
    elif name == "conv1d":
        model = nn.Sequential(
            nn.Conv1d(64, 128, 3, padding=1), nn.ReLU(), nn.Conv1d(128, 128, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 64))
    elif name == "seed_conv1d":
        model = nn.Sequential(
            nn.Conv1d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv1d(64, 64, 3, padding=1), nn.ReLU(),
            nn.Conv1d(64, 1, 3, padding=1))
    else:
        import torchvision
        model = getattr(torchvision.models, name)(weights=None)
        settle(model, MODELS[name][0])
    return model.eval().requires_grad_(False)


def is_norm_scale(model, parameter):
    import torch
    return any(isinstance(module, torch.nn.LayerNorm) and module.weight is parameter for module in model.modules())


def settle(model, row):
    """Gives every batch norm random scales and offsets and the statistics of a seeded batch at its place."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)

    last = [module.bn3 for module in model.modules() if hasattr(module, "bn3")]
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    model.eval()
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, *((0.1, 0.3) if norm in last else (0.5, 1.5)))
        torch.nn.init.normal_(norm.bias, 0.0, 0.1)
        norm.momentum = None  # the plain mean over the batches seen, here one
        norm.reset_running_stats()
        norm.train()
    model(torch.randn(16, *row))


def export(model, name, path, dynamo):
    import torch

    # The fused attention kernel of PyTorch's inference mode is no graph of operators and cannot be exported.
    torch.backends.mha.set_fastpath_enabled(False)
    example = torch.randn(2, *MODELS[name][0])
    common = dict(input_names=["x"], output_names=["y"], external_data=False)
    if dynamo:
        batch = torch.export.Dim("batch", min=1, max=4096)
        return torch.onnx.export(model, (example,), path, dynamo=True, opset_version=DYNAMO_OPSET,
                                 dynamic_shapes=({0: batch},), verbose=False, **common)
    return torch.onnx.export(model, (example,), path, dynamo=False, opset_version=CLASSIC_OPSET,
                             dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, **common)


def check(model, name, path):
    """Runs the file in onnxruntime at two batch sizes against PyTorch; returns the spread of the outputs."""
    import numpy
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    spread = 0.0
    for rows in (1, 3):
        x = torch.randn(rows, *MODELS[name][0], generator=torch.Generator().manual_seed(rows))
        (ours,) = session.run(None, {"x": x.numpy()})
        theirs = model(x).numpy()
        if not numpy.isfinite(theirs).all():
            raise ValueError("outputs are not finite")
        error = numpy.abs(ours - theirs).max() / numpy.abs(theirs).max()
        if error > 1e-4:
            raise ValueError(f"onnxruntime differs from PyTorch by {error:.1e} of the largest output at {rows} rows")
        spread = float(theirs.std())
    if not 1e-3 < spread < 1e3:
        raise ValueError(f"outputs have a standard deviation of {spread:.1e}, too far from 1 to be a useful check")
    return spread


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models"), help="folder for the files (models)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this model alone; may be given several times")
    parser.add_argument("--list", action="store_true", help="print the models and stop")
    options = parser.parse_args()
    if options.list:
        for name, (row, about) in MODELS.items():
            print(f"{name:<20} [B, {', '.join(map(str, row))}]  {about}")
        return 0
    unknown = set(options.only or ()) - set(MODELS)
    if unknown:
        parser.error(f"there is no model {', '.join(sorted(unknown))}; the models are: {', '.join(MODELS)}")
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
        import torch
        import torchvision  # noqa: F401
    except ImportError as missing:
        print(f"{missing}; run `cargo xtask models --exported`, which installs what is needed", file=sys.stderr)
        return 1
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_grad_enabled(False)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in options.only or MODELS:
        model = build(name)
        for dynamo in (False, True):
            path = options.out / f"{name}{'_dynamo' if dynamo else ''}.onnx"
            part = path.with_name(f".{path.name}.part")
            started = time.monotonic()
            try:
                # The newer exporter talks at length on both streams.
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    export(model, name, str(part), dynamo)
                spread = check(model, name, part)
            except Exception as error:  # whatever an exporter throws: the other models still come
                part.unlink(missing_ok=True)
                print(f"  {path.name}: not exported: {type(error).__name__}: {str(error).strip().splitlines()[0]}", flush=True)
                failed |= not dynamo
                continue
            part.replace(path)
            print(f"  {path}: {path.stat().st_size / 1e6:.1f} MB, outputs spread {spread:.2f}, "
                  f"{time.monotonic() - started:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
