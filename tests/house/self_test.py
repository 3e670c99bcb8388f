"""The scripts of this folder tested on small trees with one mistake each.

usage: self_test.py COMPILER
"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent


def run(tree, script, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "include/plait").mkdir(parents=True)
        for name, text in tree.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        arguments = [str(root) if word == "ROOT" else word for word in arguments]
        result = subprocess.run([sys.executable, str(HERE / script), *arguments], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return result.returncode, result.stdout


def header(*lines):
    return "#pragma once\n" + "\n".join(lines) + "\n"


def cases(compiler):
    layering = ("layering.py", "ROOT")
    core, mesh = "include/plait/core/a.hpp", "include/plait/mesh/a.hpp"
    yield "clean layers", 0, "", {core: header("#include <array>"), mesh: header("#include <plait/core/a.hpp>")}, *layering
    yield "upward include", 1, "layer 0 includes", {core: header("#include <plait/mesh/a.hpp>"), mesh: header()}, *layering
    yield "an include in a comment", 0, "", {core: header("// #include <fmt/core.h>", "/*", "#include <fmt/core.h>", "*/")}, *layering
    yield "outside library", 1, "core may not include fmt/core.h", {core: header("#include <fmt/core.h>")}, *layering
    yield "JSON in io", 0, "", {"include/plait/io/a.hpp": header("#include <nlohmann/json.hpp>")}, *layering
    yield "JSON through the umbrella", 1, "plait/runtime.hpp reaches nlohmann/json.hpp through plait/io/a.hpp", {
        "include/plait/io/a.hpp": header("#include <nlohmann/json.hpp>"),
        "include/plait/runtime.hpp": header("#include <plait/io/a.hpp>")}, *layering
    yield "umbrella from below", 1, "layer 0 includes", {
        core: header("#include <plait/plait.hpp>"), "include/plait/plait.hpp": header()}, *layering
    yield "new folder", 1, "has no layer", {"include/plait/new/a.hpp": header()}, *layering
    yield "no guard", 1, "no #pragma once", {core: "int plait_a();\n"}, *layering
    yield "missing header", 1, "does not exist", {core: header("#include <plait/core/b.hpp>")}, *layering
    yield "device header on the host", 1, "device header", {"kernels/plait/a.hpp": header("#include <plait/a.cuh>")}, *layering

    headers = ("headers.py", "--repo", "ROOT", "--compiler", compiler)
    yield "clean header", 0, "", {core: header("inline int f() { return 1; }")}, *headers
    yield "leans on another", 1, "does not compile alone", {core: header("inline std::size_t f() { return 1; }")}, *headers
    yield "no guard", 1, "does not compile alone", {core: "inline int f() { return 1; }\n"}, *headers
    yield "a name that a macro has", 1, "does not compile alone", {core: header("template <int I> struct s {};")}, *headers
    yield "a warning", 1, "does not compile alone", {core: header("inline char f(int a) { return a; }")}, *headers

    macros = ("macros.py", "--repo", "ROOT", "--compiler", compiler)
    yield "clean macros", 0, "", {core: header("#include <cassert>", "#define PLAIT_A 1")}, *macros
    yield "foreign macro", 1, "#define FOO", {core: header("#define FOO 1")}, *macros
    yield "foreign undef", 1, "#undef FOO", {core: header("#ifdef FOO", "#undef FOO", "#endif")}, *macros

    errors = ("errors.py", "ROOT")
    check = {"include/plait/core/check.hpp": header('// "plait[some-slug]: x"')}
    program = {"tests/compile_fail/some-slug_case.cpp": ""}
    page = {"docs/errors/some-slug.md": "plait[some-slug]"}
    yield "no checks yet", 77, "", {}, *errors
    yield "no page", 1, "no docs/errors/some-slug.md", {**check, **program}, *errors
    yield "no program", 1, "no tests/compile_fail/some-slug_", {**check, **page}, *errors
    yield "page without slug", 1, "docs/errors/gone.md", {**check, **program, **page, "docs/errors/gone.md": ""}, *errors
    yield "promised slug", 1, "partial-nonlinear: promised", {**check, **program, **page}, *errors


def main():
    wrong = 0
    total = 0
    for name, code, words, tree, script, *arguments in cases(sys.argv[1]):
        total += 1
        got, said = run(tree, script, *arguments)
        if got != code or words not in said:
            wrong += 1
            print(f"{script}, {name}: wanted exit {code} and \"{words}\", got exit {got} and\n{said}")
    print(f"{total - wrong} of {total} cases judged rightly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
