"""Headers include only the same or lower layers, and each layer only what it may of the outside world.

usage: layering.py ROOT (the folder that holds include/)
"""
import pathlib
import re
import sys

LEVELS = {"core": 0, "mesh": 1, "placement": 1, "tensor": 2, "typing": 3, "style": 3, "plan": 4, "comm": 4, "runtime": 4,
          "process": 5, "ops": 5, "cpu": 5, "model": 6, "train": 6, "io": 6}
# plait.hpp stands right above the layers it gathers, so ops and models may include it; runtime.hpp stands above all.
ROOT_HEADERS = {"version.hpp": 0, "plait.hpp": 4.5, "runtime.hpp": 7}

# These reach nothing but the standard library, through whatever they include.
PURE = ["plait/plait.hpp", "plait/runtime.hpp"]

STANDARD = set("""
algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits clocale cmath
codecvt compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio cstdlib cstring ctime
cuchar cwchar cwctype deque exception execution filesystem format forward_list fstream functional future initializer_list iomanip
ios iosfwd iostream istream iterator latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream
queue random ranges ratio regex scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept
stop_token streambuf string string_view strstream syncstream system_error thread tuple type_traits typeindex typeinfo
unordered_map unordered_set utility valarray variant vector version
""".split())
POSIX = re.compile(r"^(fcntl|unistd|dirent|pthread|sched)\.h$|^sys/[a-z]+\.h$")
SOCKET = re.compile(r"^(arpa/inet|netdb|netinet/in|netinet/tcp|poll)\.h$")
VECTOR = re.compile(r"^(immintrin|arm_neon|x86intrin)\.h$")
# What a folder may include besides the standard library and plait.
OUTSIDE = {
    "io": lambda name: name.startswith("nlohmann/") or name == "xxhash.h" or POSIX.match(name),
    "cpu": lambda name: name == "cblas.h" or VECTOR.match(name),
    "runtime": lambda name: POSIX.match(name),
    "process": lambda name: POSIX.match(name) or SOCKET.match(name),
}
OUTSIDE_FILE = {"plait/io/sentencepiece_tokenizer.hpp": lambda name: name == "sentencepiece_processor.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def includes(path):
    text = path.read_text(encoding="utf-8")
    # Comments go, but an include line itself holds no comment before its name.
    text = COMMENT.sub(lambda match: "\n" * match.group(0).count("\n"), text)
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start(2)) + 1, match.group(2)


def level(name):
    """The layer of plait/<...>, or None when the folder has none yet."""
    parts = name.split("/")[1:]
    if len(parts) == 1:
        if parts[0] in ROOT_HEADERS:
            return ROOT_HEADERS[parts[0]]
        parts = [parts[0].removesuffix(".hpp")]  # plait/mesh.hpp belongs to plait/mesh/
    return LEVELS.get(parts[0])


def check_headers(include):
    for path in sorted(include.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(include))
        if path.suffix != ".hpp":
            yield f"{name}: only .hpp files belong under include/"
            continue
        here = level(name)
        folder = name.split("/")[1].removesuffix(".hpp")
        if here is None:
            yield f"{name}: the folder {folder} has no layer in tests/house/layering.py"
            continue
        if "#pragma once" not in path.read_text(encoding="utf-8"):
            yield f"{name}: no #pragma once"
        allowed = OUTSIDE_FILE.get(name) or OUTSIDE.get(folder) or (lambda _: False)
        for number, wanted in includes(path):
            if wanted in STANDARD:
                continue
            if not wanted.startswith("plait/"):
                if (path.parent / wanted).exists():
                    yield f"{name}:{number}: write <plait/...> for {wanted}"
                elif not allowed(wanted):
                    yield f"{name}:{number}: {folder} may not include {wanted}"
                continue
            if not (include / wanted).exists():
                yield f"{name}:{number}: {wanted} does not exist"
                continue
            there = level(wanted)
            if there is not None and there > here:
                yield f"{name}:{number}: layer {here} includes {wanted} of layer {there}"


def check_pure(include):
    for root in PURE:
        if not (include / root).exists():
            continue
        seen, queue = {root: None}, [root]
        while queue:
            name = queue.pop()
            for _, wanted in includes(include / name):
                if wanted in STANDARD or wanted in seen:
                    continue
                if wanted.startswith("plait/") and (include / wanted).exists():
                    seen[wanted] = name
                    queue.append(wanted)
                elif not wanted.startswith("plait/") and wanted != "cblas.h" and not POSIX.match(wanted) and not VECTOR.match(wanted):
                    yield f"{root} reaches {wanted} through {name}"
                elif root == "plait/plait.hpp" and not wanted.startswith("plait/"):
                    yield f"{root} reaches {wanted} through {name}"


def check_kernels(root):
    for path in sorted((root / "kernels").rglob("*")):
        if path.suffix not in (".cuh", ".cu", ".hpp"):
            continue
        name = str(path.relative_to(root))
        for number, wanted in includes(path):
            if wanted.startswith(("nlohmann/", "fmt/", "CLI/", "plait/io", "plait/model", "plait/train", "plait/plan", "plait/style")):
                yield f"{name}:{number}: kernels may not include {wanted}"
            if path.suffix == ".hpp" and wanted.endswith(".cuh"):
                yield f"{name}:{number}: a .hpp may not include the device header {wanted}"


def main():
    root = pathlib.Path(sys.argv[1])
    include = root / "include"
    wrong = [*check_headers(include), *check_pure(include), *check_kernels(root)]
    for line in wrong:
        print(line)
    print(f"{len(list(include.rglob('*.hpp')))} headers, {len(wrong)} breaches of the layers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
