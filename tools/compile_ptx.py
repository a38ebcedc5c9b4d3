"""Compiles CUDA C++ to PTX with a given NVRTC, which needs no GPU and no toolkit.

One idea: NVRTC is a shared library with a handful of C functions, so ctypes is all it takes. The same library and the
same options give the same text, which is why the result can be committed and compared.

Needs Python 3.8 or newer. Called by `cargo xtask ptx`, which fetches the library and holds the options.
"""

import argparse
import ctypes
import pathlib
import sys


class Refused(Exception):
    """Why there is no PTX, in words for the user."""


class Nvrtc:
    """The functions of libnvrtc that are used here."""

    def __init__(self, path):
        try:
            self.lib = ctypes.CDLL(str(path))
        except OSError as error:
            raise Refused(f"cannot load {path}: {error}") from error
        self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        code = getattr(self.lib, name)(*arguments)
        if code != 0:
            raise Refused(f"{name}: {self.lib.nvrtcGetErrorString(code).decode()}")

    def text(self, program, kind):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{kind}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{kind}", program, buffer)
        return buffer.value.decode()

    def ptx(self, source, options):
        """The PTX of one file. Headers are found beside it by the compiler itself."""
        program = ctypes.c_void_p()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
        try:
            values = [option.encode() for option in (*options, f"--include-path={source.parent}")]
            failed = self.lib.nvrtcCompileProgram(program, len(values), (ctypes.c_char_p * len(values))(*values))
            log = self.text(program, "ProgramLog").strip()
            if log:
                print(log, file=sys.stderr)
            if failed:
                raise Refused(f"{source.name} does not compile")
            return self.text(program, "PTX")
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvrtc", required=True, type=pathlib.Path, help="libnvrtc.so.12")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for NAME.ptx")
    parser.add_argument("--option", action="append", default=[], help="for the compiler")
    parser.add_argument("sources", nargs="+", type=pathlib.Path, metavar="NAME.cu")
    options = parser.parse_args()
    try:
        nvrtc = Nvrtc(options.nvrtc)
        options.out.mkdir(parents=True, exist_ok=True)
        for source in options.sources:
            text = nvrtc.ptx(source, options.option)
            options.out.joinpath(source.stem + ".ptx").write_text(text, encoding="utf-8", newline="\n")
    except (Refused, OSError) as why:
        print(f"  {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
