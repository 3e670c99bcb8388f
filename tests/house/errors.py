"""Every plait[slug] has its compile-fail program and its page, and there is no program or page without a slug.

usage: errors.py ROOT
"""
import pathlib
import re
import sys

SLUG = re.compile(r"plait\[([a-z0-9-]+)\]")
# The diagnostics that the type system promises.
PROMISED = """
partial-nonlinear partial-times-partial partial-plus-replicate invariant-mixed contraction-mismatch axis-cuts-twice not-innermost
no-single-collective placement-mismatch packed-mismatch indivisible uncovered-parameter unused-rule ambiguous-rule
activation-style-on-parameter axis-not-in-mesh axes-overlap refold-mismatch fsdp-over-sharded gradient-not-synchronised
loss-not-scalar-partial router-without-experts not-differentiable
""".split()


def main():
    root = pathlib.Path(sys.argv[1])
    if not (root / "include/plait/core/check.hpp").exists():
        print("include/plait/core/check.hpp is not there yet")
        return 77
    headers = {}
    for path in sorted((root / "include").rglob("*.hpp")):
        for slug in SLUG.findall(path.read_text(encoding="utf-8")):
            headers.setdefault(slug, str(path.relative_to(root)))
    programs = {path.stem.split("_")[0] for path in (root / "tests/compile_fail").glob("*.cpp")}
    pages = {path.stem for path in (root / "docs/errors").glob("*.md")} - {"README", "index"}

    wrong = [f"{slug}: promised, but no header says it" for slug in PROMISED if slug not in headers]
    for slug, where in sorted(headers.items()):
        if slug not in programs:
            wrong.append(f"{slug} ({where}): no tests/compile_fail/{slug}_*.cpp")
        if slug not in pages:
            wrong.append(f"{slug} ({where}): no docs/errors/{slug}.md")
        elif f"plait[{slug}]" not in (root / f"docs/errors/{slug}.md").read_text(encoding="utf-8"):
            wrong.append(f"docs/errors/{slug}.md does not show plait[{slug}]")
    wrong += [f"tests/compile_fail/{slug}_*.cpp: no header says plait[{slug}]" for slug in sorted(programs - headers.keys())]
    wrong += [f"docs/errors/{slug}.md: no header says plait[{slug}]" for slug in sorted(pages - headers.keys())]
    for line in wrong:
        print(line)
    print(f"{len(headers)} slugs, {len(programs)} with a program, {len(pages)} pages, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
