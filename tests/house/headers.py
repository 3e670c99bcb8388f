"""Every header compiles alone, twice in one file, with macros around it that system headers are known to define.

Without names all headers under include/ are tried (plait/io/ needs nlohmann's JSON
and is left out when --json is empty and the compiler does not find it by itself).
"""
import argparse
import pathlib
import subprocess
import sys

from syntax_only import WARNINGS

# <complex.h> defines I, <termios.h> B0, <sys/sysmacros.h> major and minor, <rpcndr.h> small.
HOSTILE = ["I", "B0", "small", "major", "minor"]
KEPT = ["I", "B0", "small"]  # a system header may replace the other two itself
SHOWN = 20  # lines of what the compiler says, per header


def unit(header, hostile=True):
    lines = []
    if hostile:
        lines += [f"#define {name} this_macro_breaks_the_header +-* {name}_" for name in HOSTILE]
    lines += [f'#include "{header}"'] * 2
    if hostile:
        for name in KEPT:
            lines += [f"#ifndef {name}", f"#error {header} undefines {name}", "#endif"]
    return "\n".join(lines) + "\n"


def has(compiler, flags, header):
    text = f"#if !__has_include(<{header}>)\n#error\n#endif\n"
    return subprocess.run([compiler, *flags, "-x", "c++", "-E", "-"], input=text, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--json", default="", help="include folders of nlohmann's JSON, with commas between, if it needs one")
    parser.add_argument("--nvcc", action="store_true")
    parser.add_argument("headers", nargs="*")
    options = parser.parse_args()

    include = pathlib.Path(options.repo) / "include"
    headers = options.headers or sorted(str(path.relative_to(include)) for path in include.rglob("*.hpp"))
    flags = ["-std=c++20", f"-I{include}"]
    if options.nvcc:
        # --cuda stops before the host compiler: both front-end passes have then seen the header.
        command = [options.compiler, *flags, "-x", "cu", "--cuda", "-o", "/dev/null", "-"]
    else:
        flags += [word for folder in options.json.split(",") if folder for word in ("-isystem", folder)]
        command = [options.compiler, *flags, *WARNINGS, "-x", "c++", "-fsyntax-only", "-"]
    with_json = options.nvcc or has(options.compiler, flags, "nlohmann/json.hpp")

    tried, failed = 0, 0
    for header in headers:
        if not options.headers:
            if header.startswith(("plait/io/", "plait/io.")) and not with_json:
                print(f"left out: {header}")
                continue
        tried += 1
        result = subprocess.run(command, input=unit(header, hostile=not options.nvcc), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode != 0:
            failed += 1
            lines = result.stdout.split("\n")
            print(f"{header} does not compile alone:", *lines[:SHOWN], sep="\n")
            if len(lines) > SHOWN:
                print(f"({len(lines) - SHOWN} more lines)")
    print(f"{tried - failed} of {tried} headers compile alone")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
