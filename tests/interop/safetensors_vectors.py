"""Asks the reference reader for its verdict on our hostile safetensors files and compares it with our table.

Needs the Python package safetensors (0.8.0 is what the table was made for). Usage:
    PLAIT_VECTORS_DIR=FOLDER unit_io -tc='hostile*'      writes the files and verdicts.tsv
    safetensors_vectors.py FOLDER                        compares
"""
import argparse
import pathlib
import sys

try:
    import safetensors
except ImportError:
    print("left out: the Python package safetensors is not installed")
    sys.exit(0)


def verdict(path):
    try:
        safetensors.deserialize(path.read_bytes())
        return "accept", ""
    except BaseException as error:  # a panic of the reader is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        return "refuse", f"{type(error).__name__}: {str(error)[:100]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    tried = wrong = stricter = laxer = 0
    for line in (options.folder / "verdicts.tsv").read_text().splitlines():
        file, name, ours, expected = line.split("\t")
        found, why = verdict(options.folder / file)
        tried += 1
        if found != expected:
            wrong += 1
            print(f"{name}: the table says the reference will {expected}, it does {found} {why}")
        if ours != found:
            stricter += ours == "refuse"
            laxer += ours == "accept"
            print(f"differs: {name}: ours {ours}, reference {found}")
        if options.verbose:
            print(f"{name}: {found} {why}")
    print(f"safetensors {safetensors.__version__}: {tried} files, {tried - wrong} as the table says; "
          f"ours is stricter in {stricter}, laxer in {laxer}")
    return 1 if wrong or laxer else 0


if __name__ == "__main__":
    sys.exit(main())
