#!/usr/bin/env python3
"""Every ```cpp block of README.md and docs/ that names an example must be contiguous text of it, indentation apart.

usage: snippets.py ROOT
"""
import pathlib
import re
import sys


def lines(text):
    return [line.strip() for line in text.split("\n")]


root = pathlib.Path(sys.argv[1])
count = wrong = 0
for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
    for block in re.finditer(r"<!-- text of (\S+) -->\n```cpp\n(.*?)\n```", page.read_text(), re.S):
        count += 1
        have, want = lines((root / block[1]).read_text()), lines(block[2])
        if not any(have[i:i + len(want)] == want for i in range(len(have))):
            wrong += 1
            print(f"{page}: this is not in {block[1]}: {want[0]}")
print(f"{count} snippets, {wrong} wrong")
sys.exit(1 if wrong else 0)
