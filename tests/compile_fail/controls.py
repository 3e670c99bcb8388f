"""The control halves of the wrong programs must compile: what makes them wrong is then their wrong half alone.

Each is put into a namespace of its own, many to a file, so that headers are read once for all of them. What a compiler says names the
program and its line.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

AT_ONCE = 60  # programs in one file: a compiler's memory stays below a gigabyte
INCLUDE = re.compile(r'^#include ["<].*[">]\s*$')


def unit(repo, files):
    includes, bodies = {}, []
    for number, file in enumerate(files):
        with open(os.path.join(repo, file), encoding="utf-8") as f:
            lines = f.read().splitlines()
        includes.update(dict.fromkeys(line.strip() for line in lines if INCLUDE.match(line)))
        lines = ["" if INCLUDE.match(line) else line for line in lines]
        bodies += [f"namespace control_{number} {{", f'#line 1 "{file}"', *lines, "}"]
    return "\n".join([*includes, *bodies]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--nvcc", action="store_true", help="as CUDA, both front-end passes, without the host compiler")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()

    files = sorted(os.path.relpath(f, options.repo) for f in options.files)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "controls.cpp")
        flags = ["-x", "cu", "--cuda", "-o", os.path.join(folder, "controls.ii")] if options.nvcc else ["-fsyntax-only"]
        for begin in range(0, len(files), AT_ONCE):
            part = files[begin:begin + AT_ONCE]
            with open(source, "w", encoding="utf-8") as f:
                f.write(unit(options.repo, part))
            result = subprocess.run([options.compiler, "-std=c++20", "-Iinclude", *flags, source], cwd=options.repo, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)
            if result.returncode != 0:
                wrong += 1
                print(f"of {part[0]} to {part[-1]}, a control half does not compile:\n{result.stdout}")
    print(f"{len(files)} control halves, {'all compile' if wrong == 0 else 'not all compile'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
