#!/usr/bin/env python3
"""What plait costs a compiler.

  include     seconds and memory of an empty file, plait/plait.hpp and plait/runtime.hpp over it (g++, clang++, nvcc where found)
  scaling     plans of N rules over N rows (6, 48, 96, 192) and 1,000 rows x 48 rules: seconds, memory, and with clang the number of
              template instantiations and the constexpr steps needed, both of which must grow linearly
  families    core-seconds and memory of one family, plan and element type (a decoder's forward and backward)

usage: measure.py [include|scaling|families ...] [--gate]     --gate: exit 1 if a limit of the project is exceeded
"""
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
INCLUDE = ["-std=c++20", "-I", os.path.join(ROOT, "include")]
failures = []
FAMILIES = {"mixtral": ("tp", "sp", "tp_ep", "sp_ep"), "qwen3_moe": ("tp", "sp", "tp_ep", "sp_ep"), "llama": ("tp", "sp"), "qwen3": ("tp", "sp"),
            "granitemoe": ("tp", "sp", "tp_ep", "sp_ep"), "qwen2_moe": ("tp", "sp", "tp_ep", "sp_ep"),
            "hunyuan_v1_moe": ("tp", "sp", "tp_ep", "sp_ep"), "olmoe": ("tp", "sp", "tp_ep", "sp_ep"),
            "deepseek_v2": ("tp", "sp", "tp_ep", "sp_ep"),
            "gpt_oss": ("tp", "sp", "tp_ep", "sp_ep"), "llama4_text": ("tp", "sp", "tp_ep", "sp_ep"),
            "glm4_moe": ("tp", "sp", "tp_ep", "sp_ep"), "minimax_m2": ("tp", "sp", "tp_ep", "sp_ep"),
            "phimoe": ("tp", "sp", "tp_ep", "sp_ep"), "ernie4_5_moe": ("tp", "sp", "tp_ep", "sp_ep")}


def compile_once(compiler, source, *flags):
    """(core-seconds, MiB) of one run; the first line of the error if it fails."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "unit.cu" if compiler == "nvcc" else "unit.cpp")
        open(path, "w").write(source)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        p = subprocess.Popen([compiler, *INCLUDE, *flags, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=d)
        out = p.communicate()[0]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if p.returncode != 0:
            sys.exit(f"{compiler} failed:\n{out[:2000]}")
        files = {n: open(os.path.join(d, n)).read() for n in os.listdir(d) if n.endswith(".json")}
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024, files


def best(compiler, source, *flags, times=3):
    runs = [compile_once(compiler, source, *flags)[:2] for _ in range(times)]
    return min(r[0] for r in runs), max(r[1] for r in runs)


def gate(ok, what):
    if not ok:
        failures.append(what)


def include():
    print("| compiler | empty | plait/plait.hpp over it | plait/runtime.hpp over it |\n| --- | --- | --- | --- |")
    for compiler, flags in (("g++", ["-fsyntax-only"]), ("clang++", ["-fsyntax-only"]), ("nvcc", ["-c", "-o", os.devnull])):
        if not shutil.which(compiler):
            continue
        empty = best(compiler, "int main() {}\n", *flags)
        row = [f"{empty[0]:.2f} s"]
        for header in ("plait/plait.hpp", "plait/runtime.hpp"):
            seconds, memory = best(compiler, f'#include "{header}"\nint main() {{}}\n', *flags)
            row.append(f"{seconds - empty[0]:.2f} s, {memory:.0f} MiB")
            if header == "plait/plait.hpp" and compiler == "g++":
                gate(seconds - empty[0] <= 0.30, f"plait.hpp costs {seconds - empty[0]:.2f} s over an empty file, limit 0.30")
        print(f"| {compiler} | {' | '.join(row)} |", flush=True)


def plan_source(rows, rules, resolve):
    out = ['#include "plait/plait.hpp"', "using namespace plait;", "struct dp : axis<2> {}; struct tp : axis<4> {};",
           "struct node : mesh<dp, tp> {};", "struct model { static constexpr parameter parameters[] = {"]
    # Rows beyond the rules share one rule per owning module, so that every rule has rows and every row a rule.
    for r in range(rows):
        out.append(f'{{"layers.*.block{r % rules}.part{r // rules}", {{4096, {128 * (r + 1)}}}}},')
    out.append("}; };")
    out.append("struct the_plan : plan<node, parameters<" + ",".join(
        f'rule<"layers.*.block{r}", {("colwise<tp>", "rowwise<tp>", "replicated<tp>")[r % 3]}>' for r in range(rules)) +
        ">, activations<>, everywhere<fsdp<dp>>> {};")
    # rowwise cuts dim 1 evenly: 128 (r + 1) / 4. replicated leaves Invariant on tp.
    out.append("static_assert(covers<the_plan, model>);")
    for r in range(resolve):
        out.append(f"sharded<float, extents<4096, {128 * (r + 1)}>, storage_layout_t<the_plan, model, {r}>> tensor{r};")
    return "\n".join(out) + "\nint main() {}\n"


def constexpr_steps(source):
    low, high = 1000, 1 << 26
    while high - low > low // 20:
        middle = (low + high) // 2
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "unit.cpp")
            open(path, "w").write(source)
            ok = subprocess.run(["clang++", *INCLUDE, "-fsyntax-only", f"-fconstexpr-steps={middle}", path], capture_output=True).returncode == 0
        low, high = (low, middle) if ok else (middle, high)
    return high


def instantiations(source):
    _, _, files = compile_once("clang++", source, "-c", "-o", "unit.o", "-ftime-trace", "-ftime-trace-granularity=0")
    events = json.loads(next(iter(files.values())))["traceEvents"]
    return sum(e["name"] in ("InstantiateClass", "InstantiateFunction") for e in events)


def scaling():
    clang = shutil.which("clang++")
    print("| rows x rules | g++ | clang++ | instantiations | constexpr steps |\n| --- | --- | --- | --- | --- |")
    counts = {}
    for rows, rules in ((6, 6), (48, 48), (96, 96), (192, 192), (1000, 48)):
        resolve = rows if rows == rules else 0
        source = plan_source(rows, rules, resolve)
        gcc = best("g++", source, "-fsyntax-only", times=2)
        line = [f"{rows} x {rules}", f"{gcc[0]:.2f} s, {gcc[1]:.0f} MiB"]
        if rows == 1000:
            gate(gcc[0] <= 1.0, f"1,000 rows x 48 rules take {gcc[0]:.2f} s with g++, limit 1.0")
        if clang:
            steps = constexpr_steps(source)
            loose = f"-fconstexpr-steps={max(3 * steps, 1 << 20)}"
            seconds, memory = best("clang++", source, "-fsyntax-only", loose, times=2)
            count = instantiations(source) if 3 * steps < 1 << 20 else None
            counts[rows, rules] = (count, steps)
            line += [f"{seconds:.2f} s, {memory:.0f} MiB", "-" if count is None else f"{count:,}", f"{steps:,}"]
        print("| " + " | ".join(line) + " |", flush=True)
    if clang and counts.get((48, 48), (None,))[0] and counts.get((192, 192), (None,))[0]:
        small, large = counts[48, 48], counts[192, 192]
        base = counts[6, 6][0] or 0
        gate((large[0] - base) <= 5.0 * (small[0] - base) * 42 / 42, f"instantiations grow faster than linearly: {small[0]} to {large[0]}")


def families():
    print("| family | plan | element | core-seconds of one more in a file | MiB |\n| --- | --- | --- | --- | --- |")
    for family, plans in FAMILIES.items():
        tables = "mixtral" if family in ("granitemoe", "phimoe") else family  # their plans are Mixtral's
        # What is the same for every plan and element is compiled once a file: it belongs to the file's cost, not to the plan's.
        body = "struct {3} : with_precision<{0}, {1}> {{}};\ntemplate class plait::decoder_model<{3}, {2}>;\n"
        file = f'#include "plait/model/{family}.hpp"\n#include "plait/model/decoder_model.hpp"\nusing namespace plait;\n'
        file += body.format(f"{tables}_tp", "float64_precision", family, "first")
        base, memory = best("g++", file, "-O2", "-c", "-o", os.devnull, times=2)
        print(f"| {family} | tp | float64 | a whole file: {base:.2f} | {memory:.0f} |", flush=True)
        for plan in plans:
            for element in ("float32", "bfloat16"):
                source = file + body.format(f"{tables}_{plan}", f"{element}_precision", family, "second")
                both, memory = best("g++", source, "-O2", "-c", "-o", os.devnull, times=2)
                cost = both - base
                gate(cost <= 2.5 and memory <= 4096, f"{family} {plan} {element}: {cost:.1f} s, {memory:.0f} MiB; limits 2.5 and 4096")
                print(f"| {family} | {plan} | {element} | {cost:.2f} | {memory:.0f} |", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", nargs="*", default=[], help="include, scaling, families (default: all)")
parser.add_argument("--gate", action="store_true")
options = parser.parse_args()
for name in options.what or ["include", "scaling", "families"]:
    print(f"\n{name}")
    {"include": include, "scaling": scaling, "families": families}[name]()
for failure in failures:
    print("over the limit:", failure)
sys.exit(1 if failures and options.gate else 0)
