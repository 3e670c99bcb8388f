#!/usr/bin/env python3
"""What plait costs a compiler.

  include     seconds and memory of an empty file, plait/plait.hpp and plait/runtime.hpp over it (g++, clang++, nvcc where found)
  scaling     plans of N rules over N rows (6, 48, 96, 192) and 1,000 rows x 48 rules: seconds, memory, and with clang the number of
              template instantiations and the constexpr steps needed, both of which must grow linearly
  families    core-seconds and memory of one family, plan and element type (a decoder's forward and backward), as the trainer builds it

usage: measure.py [include|scaling|families ...] [--only FAMILY ...] [--gate]     --gate: exit 1 if a limit of the project is exceeded
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
DENSE = ("llama", "qwen3")
MOE = ("mixtral", "qwen3_moe", "granitemoe", "qwen2_moe", "hunyuan_v1_moe", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss", "llama4_text",
       "glm4_moe", "minimax_m2", "phimoe", "ernie4_5_moe")
TABLES = {"granitemoe": "mixtral", "phimoe": "mixtral", "deepseek_v3": "deepseek_v2"}  # families with another's plans


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
    """As moe_trainer's files are: with one plan (tp) in float32 and bfloat16, and with one plan more; half the difference is one decoder."""
    print("| family | plan | core-seconds of one element type | MiB of the file |\n| --- | --- | --- | --- |")
    for family in options.only or MOE + DENSE:
        tables = TABLES.get(family, family)
        file = f'#include "plait/model/{family}.hpp"\n#include "plait/model/family.hpp"\nusing namespace plait;\n'
        sent = [f"with_dispatch<{tables}_{p}, {family}>" for p in ("tp_ep", "sp_ep")]
        plans = {"sp": (1, f"{tables}_sp")}
        if family in MOE:
            plans |= {"tp_ep": (2, f"{tables}_tp_ep"), "sp_ep": (3, f"{tables}_sp_ep"), "tp_ep, dispatch": (4, sent[0]), "sp_ep, dispatch": (5, sent[1])}

        def cost(*more, times=1):
            given = [f"{tables}_tp"] + ["no_plan"] * 5
            for place, plan in more:
                given[place] = plan
            return best("g++", file + f"family f() {{ return make_family<{family}, {', '.join(given)}>(); }}\n", "-O2", "-march=native", "-c", "-o",
                        os.devnull, times=times)

        base, memory = cost(times=2)
        print(f"| {family} | tp | a file with it alone: {base:.1f} in all | {memory:.0f} |", flush=True)
        for name, plan in plans.items():
            both, memory = cost(plan)
            if (both - base) / 2 > 2.5:
                both, memory = cost(plan, times=2)
            each = (both - base) / 2
            gate(each <= 2.5 and memory <= 4096, f"{family} {name}: {each:.1f} s, {memory:.0f} MiB; limits 2.5 and 4096")
            print(f"| {family} | {name} | {each:.2f} | {memory:.0f} |", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", nargs="*", default=[], help="include, scaling, families (default: all)")
parser.add_argument("--only", nargs="+", choices=MOE + DENSE, metavar="FAMILY", help="of families: these")
parser.add_argument("--gate", action="store_true", help="exit 1 if a limit of the project is exceeded")
options = parser.parse_args()
for name in options.what or ["include", "scaling", "families"]:
    print(f"\n{name}")
    {"include": include, "scaling": scaling, "families": families}[name]()
for failure in failures:
    print("over the limit:", failure)
sys.exit(1 if failures and options.gate else 0)
