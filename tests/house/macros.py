"""Including plait defines no macro but PLAIT_*, and undefines none.

Asked twice: of the preprocessor (-dD tells which file each #define and #undef comes from) for all headers in one file, and of
the text of the headers, where it also finds what another configuration would define.
"""
import argparse
import pathlib
import re
import subprocess
import sys

from headers import has

DIRECTIVE = re.compile(r"^\s*#\s*(define|undef)\s+(\w+)", re.MULTILINE)
MARKER = re.compile(r'^# \d+ "([^"]*)"')


def in_text(include):
    for path in sorted(include.rglob("*.hpp")):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            match = DIRECTIVE.match(line)
            if match and not match.group(2).startswith("PLAIT_"):
                yield f"{path.relative_to(include)}:{number}: #{match.group(1)} {match.group(2)}"


def in_preprocessor(include, compiler, flags, headers):
    text = "".join(f"#include <{header}>\n" for header in headers)
    result = subprocess.run([compiler, "-std=c++20", f"-I{include}", *flags, "-x", "c++", "-E", "-dD", "-"],
                            input=text, text=True, stdout=subprocess.PIPE)
    if result.returncode != 0:
        yield "the headers do not get through the preprocessor"
    here = ""
    ours = str(include / "plait")
    for line in result.stdout.split("\n"):
        marker = MARKER.match(line)
        if marker:
            here = marker.group(1)
            continue
        match = DIRECTIVE.match(line)
        if match and here.startswith(ours) and not match.group(2).startswith("PLAIT_"):
            yield f"{here}: #{match.group(1)} {match.group(2)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    include = pathlib.Path(options.repo) / "include"
    flags = [word for folder in options.json.split(",") if folder for word in ("-isystem", folder)]
    headers = sorted(str(path.relative_to(include)) for path in include.rglob("*.hpp"))
    if not has(options.compiler, flags, "nlohmann/json.hpp"):
        headers = [name for name in headers if not name.startswith(("plait/io/", "plait/io."))]

    found = list(in_text(include)) + list(in_preprocessor(include, options.compiler, flags, headers))
    for line in found:
        print(line)
    print(f"{len(headers)} headers, {len(found)} macros that are not PLAIT_*")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
