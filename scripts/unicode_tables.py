"""Writes include/plait/io/unicode_tables.hpp.

usage: unicode_tables.py [--check] (--check: only compares with the file that is there)

Letters and numbers are those of Unicode 16.0, which the regular expressions of Hugging Face tokenizers 0.22 and 0.23 know; its
normaliser knows Unicode 9.0. Both were found by asking it about every code point. Needs the Python package unicodedata2 16.0.0, or
a Python whose own unicodedata is of that version.
"""
import pathlib
import sys

try:
    import unicodedata2 as unicode
except ImportError:
    import unicodedata as unicode

HEADER = pathlib.Path(__file__).parent.parent / "include/plait/io/unicode_tables.hpp"
VERSION = "16.0.0"

# What Unicode 10 to 16 gave a combining class or a canonical decomposition (neither of them ever changes later).
AFTER_UNICODE_9 = """
7fd 897-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1ace 1df6-1dfa a82c 105c9 105e4 10d24-10d27 10d69-10d6d 10eab-10eac 10efd-10eff
10f46-10f50 10f82-10f85 11070 1133b 11383 11385 1138e 11391 113c5 113c7-113c8 113ce-113d0 1145e 11839-1183a 11938 1193d-1193e 11943
119e0 11a34 11a47 11a99 11d42 11d44-11d45 11d97 11f41-11f42 16121-16128 1612f 16d68-16d6a 16ff0-16ff1 1e08f 1e130-1e136 1e2ae
1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef
"""

CLASSES = {"L": 1, "N": 2}


def code_points():
    return (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)


def late():
    out = set()
    for word in AFTER_UNICODE_9.split():
        first, _, last = word.partition("-")
        out.update(range(int(first, 16), int(last or first, 16) + 1))
    return out


def character_classes():
    last = None
    for code in range(0x110000):
        kind = CLASSES.get(unicode.category(chr(code))[0], 0)
        if kind != last:
            yield code << 2 | kind
        last = kind


def decompositions(excluded):
    for code in code_points():
        text = unicode.decomposition(chr(code))
        if not text or text.startswith("<") or code in excluded:
            continue
        parts = [int(word, 16) for word in text.split()]
        composes = len(parts) == 2 and unicode.normalize("NFC", chr(parts[0]) + chr(parts[1])) == chr(code)
        first, second = parts[0], parts[1] if len(parts) == 2 else 0
        yield code | first << 21 | second << 42 | composes << 63


def combining_classes(excluded):
    ranges = []
    for code in code_points():
        kind = 0 if code in excluded else unicode.combining(chr(code))
        if not kind:
            continue
        if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == kind:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, kind])
    return [first | last << 21 | kind << 42 for first, last, kind in ranges]


def table(comment, kind, name, values):
    suffix = "ull" if kind.endswith("64_t") else ""
    lines, line = [comment, f"inline constexpr {kind} {name}[] = {{"], "   "
    for value in values:
        word = f" 0x{value:x}{suffix},"
        if len(line) + len(word) > 130:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join([*lines, line, "};"])


def text():
    excluded = late()
    return "\n".join([
        "#pragma once",
        "// Made by scripts/unicode_tables.py; do not edit. Letters and numbers of Unicode 16.0, normalisation of Unicode 9.0:",
        "// what Hugging Face tokenizers 0.22 and 0.23 know.",
        "// clang-format off",
        "#include <cstdint>",
        "",
        "namespace plait::inline v0_1::io::detail {",
        "",
        table("/// Where a class begins: code point << 2 | class (0 neither, 1 letter, 2 number). Sorted.",
              "std::uint32_t", "class_starts", character_classes()),
        "",
        table("/// Canonical decompositions: code point | first << 21 | second << 42 | (composes again) << 63; second is 0 for a\n"
              "/// single one. Sorted by code point (the low 21 bits).",
              "std::uint64_t", "decompositions", decompositions(excluded)),
        "",
        table("/// Combining classes other than 0: first | last << 21 | class << 42. Sorted.",
              "std::uint64_t", "combining_ranges", combining_classes(excluded)),
        "",
        "}  // namespace plait::inline v0_1::io::detail",
        "",
    ])


def main():
    if unicode.unidata_version != VERSION:
        sys.exit(f"unicode_tables.py: this is Unicode {unicode.unidata_version}; install unicodedata2=={VERSION}")
    made = text()
    if "--check" in sys.argv[1:]:
        same = HEADER.read_text(encoding="utf-8") == made
        print(f"{HEADER.name} is {'as made from' if same else 'not what is made from'} Unicode {VERSION}")
        return 0 if same else 1
    HEADER.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
