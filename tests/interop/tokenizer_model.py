"""Trains a small sentencepiece model (BPE with bytes for what it lacks, as Llama 2 and Mixtral) and writes what it gives for texts.

Needs the Python package sentencepiece (0.2.1 or newer). Usage:
    tokenizer_model.py FOLDER      writes tokenizer.model and cases.jsonl, as in tests/data/tokenizer_model
"""
import io
import json
import pathlib
import sys

try:
    import sentencepiece
except ImportError:
    print("left out: the Python package sentencepiece is not installed")
    sys.exit(0)

from tokenizer import SENTENCES

TEXTS = ["", " ", "a", " a", "a ", "  two  spaces ", "The quick fox.", "new\nline\ttab", "<s> is text", "日本 é 👩🏽 \x00", *SENTENCES.split("\n")]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES.replace(". ", ".\n").split("\n") * 4), model_writer=model, vocab_size=600, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
        num_threads=1, minloglevel=2)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    with open(folder / "cases.jsonl", "w", encoding="utf-8") as out:
        for text in TEXTS:
            ids = processor.encode(text)
            out.write(json.dumps({"text": text, "ids": ids, "decoded": processor.decode(ids)}, separators=(",", ":")) + "\n")
    print(f"sentencepiece {sentencepiece.__version__}: {processor.get_piece_size()} pieces, {len(TEXTS)} texts")


if __name__ == "__main__":
    main()
