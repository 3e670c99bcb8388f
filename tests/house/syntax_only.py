"""Compiles each given file with -fsyntax-only; all must pass."""
import argparse
import os
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wno-sign-conversion", "-Werror"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()

    failed = []
    for file in options.files:
        name = os.path.relpath(file, options.repo)
        command = [options.compiler, "-std=c++20", "-Iinclude", "-fsyntax-only", *WARNINGS, name]
        result = subprocess.run(command, cwd=options.repo, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            failed.append(name)
            print(f"{name} does not compile:\n{result.stdout}")
    print(f"{len(options.files) - len(failed)} of {len(options.files)} files compile")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
