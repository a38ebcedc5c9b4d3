"""Seeded inputs for the real models, of the kind that each meets in practice.

One idea: an input that no user would send proves little. Texts have words and padding, sound has harmonics and a state
that an earlier chunk left, images have strokes on a background. Everything follows from the seed and the row's number
alone, so row 5 of a batch of 16 is the same as row 5 of a batch of 7.
"""

import numpy as np


def generator(seed, row, salt=0):
    return np.random.default_rng([seed, row, salt])


def magika_bytes(rng):
    """What magika reads of a file: 1024 bytes of its start and 1024 of its end, 256 where the file is shorter."""
    row = np.full(2048, 256, np.int32)
    kind = rng.integers(3)
    for half in (slice(0, 1024), slice(1024, 2048)):
        length = int(rng.integers(40, 1025))
        if kind == 0:  # prose: lower-case words
            data = rng.integers(97, 123, length)
            data[rng.random(length) < 0.17] = 32
        elif kind == 1:  # something compressed
            data = rng.integers(0, 256, length)
        else:  # source code, roughly
            data = rng.choice(np.frombuffer(b"    \n(){};=.,abcdefghijklmnopqrstuvwxyz_0123456789", np.uint8), length)
        part = row[half]
        if half.start == 0:
            part[:length] = data
        else:
            part[1024 - length:] = data
    return row


def minilm_tokens(rng, length):
    """Token ids below BERT's vocabulary between [CLS] and [SEP], then padding, and the mask that says so."""
    used = int(rng.integers(3, length + 1))
    ids = np.zeros(length, np.int64)
    ids[0], ids[used - 1] = 101, 102
    ids[1:used - 1] = rng.integers(1000, 30522, used - 2)
    return ids, (np.arange(length) < used).astype(np.int64)


def speech(rng, samples, rate=16000):
    """A voice-like sound: harmonics of a low tone that swell and fade, over noise."""
    t = np.arange(samples) / rate
    pitch = rng.uniform(90, 250)
    sound = sum(rng.uniform(0.2, 1.0) / k * np.sin(2 * np.pi * k * pitch * t + rng.uniform(0, 6.28)) for k in range(1, 12))
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * (t / max(t[-1], 1e-9) + rng.random()))
    return (0.2 * rng.uniform(0, 1) * sound * swell + rng.normal(0, 0.005, samples)).astype(np.float32)


def page(rng, height, width):
    """A light page with dark strokes in lines, normalised to about -1..1, three equal-ish channels."""
    image = np.full((height, width), rng.uniform(0.7, 1.0))
    for top in range(6, height - 12, 18):
        x = int(rng.integers(2, 12))
        while x < width - 8:
            stroke = int(rng.integers(1, 4))
            image[top:top + int(rng.integers(6, 12)), x:x + stroke] = rng.uniform(0.0, 0.3)
            x += stroke + int(rng.integers(2, 12))
    tint = rng.uniform(0.9, 1.0, (3, 1, 1))
    return ((image * tint + rng.normal(0, 0.02, (3, height, width)) - 0.5) / 0.5).astype(np.float32)


def per_row(make, rows, seed, salt=0):
    return np.stack([make(generator(seed, row, salt)) for row in range(rows)])


def magika(rows, seed):
    yield "bytes", {"bytes": per_row(magika_bytes, rows, seed)}


def minilm(rows, seed):
    for length in (16, 48):
        tokens = [minilm_tokens(generator(seed, row, length), length) for row in range(rows)]
        yield f"{length} tokens", {
            "input_ids": np.stack([ids for ids, _ in tokens]),
            "attention_mask": np.stack([mask for _, mask in tokens]),
        }


def ppocr_det(rows, seed):
    for height, width in ((160, 160), (320, 224), (96, 352)):
        yield f"{height}x{width}", {"x": per_row(lambda rng: page(rng, height, width), rows, seed, height)}


def ppocr_cls(rows, seed):
    yield "48x192", {"x": per_row(lambda rng: page(rng, 48, 192), rows, seed)}


def silero_vad(rows, seed):
    # 16 kHz: 64 samples of context before 512 new ones; 8 kHz: 32 before 256.
    for rate, samples in ((16000, 576), (8000, 288)):
        sound = per_row(lambda rng: speech(rng, samples, rate), rows, seed, rate)
        sr = np.array(rate, np.int64)
        fresh = np.zeros((2, rows, 128), np.float32)
        yield f"{rate} Hz, first chunk", {"input": sound, "sr": sr, "state": fresh}
        used = np.stack([generator(seed, row, 7).normal(0, 0.3, (2, 128)) for row in range(rows)], axis=1)
        yield f"{rate} Hz, later chunk", {"input": sound, "sr": sr, "state": np.tanh(used).astype(np.float32)}


def silero_vad_sequence(rows, seed):
    # Rows are chunks of one sound here, in time: 576 samples that overlap by 64.
    sound = speech(generator(seed, 0), 64 + 512 * rows)
    chunks = np.stack([sound[512 * i:512 * i + 576] for i in range(rows)])
    fresh = np.zeros((1, 1, 128), np.float32)
    yield "first chunks", {"input": chunks, "h": fresh, "c": fresh}
    rng = generator(seed, 0, 7)
    h, c = (np.tanh(rng.normal(0, 0.3, (1, 1, 128))).astype(np.float32) for _ in range(2))
    yield "later chunks", {"input": chunks, "h": h, "c": c}


def gaussian(*shape):
    def make(rows, seed):
        yield "gaussian", {"x": per_row(lambda rng: rng.standard_normal(shape, np.float32), rows, seed)}
    return make


KINDS = {
    "magika": magika,
    "minilm": minilm,
    "ppocr_det": ppocr_det,
    "ppocr_cls": ppocr_cls,
    "silero_vad": silero_vad,
    "silero_vad_sequence": silero_vad_sequence,
    "transformer": gaussian(32, 256),
    "mlp": gaussian(512),
    "seed_mlp": gaussian(256),
    "conv1d": gaussian(64, 128),
    "seed_conv1d": gaussian(1, 1024),
    "resnet50": gaussian(3, 224, 224),
    "mobilenet_v3_large": gaussian(3, 224, 224),
}


def cases(model, rows, seed):
    """Pairs of a label and the inputs by name, for the model of that name and that many rows.

    Raises KeyError if the model is not known here.
    """
    return KINDS[model.removesuffix("_dynamo")](rows, seed)
