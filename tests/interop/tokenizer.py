"""Makes tokenizers and texts, and asks Hugging Face tokenizers for their ids.

Needs the Python package tokenizers (0.22 and 0.23 were used). Usage:
    tokenizer.py FOLDER [--count N] [--seed N]           writes FOLDER/<name>/tokenizer.json and cases.jsonl, N texts each
    tokenizer.py FOLDER --fixtures                       the small ones of tests/data/tokenizers
    PLAIT_TOKENIZERS_DIR=FOLDER unit_io -tc='*tokenizers gives*'   compares
"""
import argparse
import json
import pathlib
import random
import sys

try:
    import tokenizers
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError:
    print("left out: the Python package tokenizers is not installed")
    sys.exit(0)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

SENTENCES = """The quick brown fox jumps over the lazy dog; it doesn't care, and they'll've said so: "WE'RE DONE", I'M SURE.
Größe, façade, naïve, Ærøskøbing, žluťoučký kůň, İstanbul'da ışık, Tiếng Việt có dấu, pchnąć w tę łódź jeża.
Съешь же ещё этих мягких французских булок да выпей чаю. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Հայերեն, ქართული.
敏捷的棕色狐狸跳过了懒狗。いろはにほへと、カタカナもある。키스의 고유조건은 입술끼리 만나야 하고. 中文12345和English混合.
נוסח בעברית עם ניקוד: שָׁלוֹם. نص عربي مع تشكيل: مُحَمَّد. हिन्दी में क्षत्रिय। বাংলা ভাষা। தமிழ் மொழி. ไทยไม่มีวรรค
for (int i = 0; i < 1000; ++i) { total += values[i] * 3.14159e-10; }  // 100,000,000 times\tdef f(x):\n\treturn x**2
👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 ☃️ ✨ 1️⃣ ½ ² Ⅷ ٣٤٥ १२३ ①②③ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ ﬆ ǅ ª º"""

PIECES = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'LL", "'d", "'\u017f", "'", "''", "\u2019s", " ", "  ", "   ", "\t", "\n", "\r\n",
          "\r", "\n\n", " \n ", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\ufeff", "\u180e", "\x1c", "\x00", "\x7f", "\x0b", "0", "12", "123",
          "1234567", "\u0663\u0664", "\u00bd", "e\u0301", "\u00e9", "a\u0323\u0302", "\u1ea5", "o\u0302\u0323", "\u212b", "\u2126",
          "\u1100\u1161\u11a8", "\uac01", "\uac00\u11a8", "\u0344", "\u0958", "\u2adc", "\ufb2a", "\u0f77", "\U0001d15e", "\uf900", "\u0340", "\u1e9b\u0323",
          "\u0301", "\u0334\u0301\u0316", "\u05b8\u05c1", "\u0e38\u0e48", "\u3099", "\u304b\u3099", "\u09c7\u09be", "\u0b47\u0b56", "\U000110a5\U000110ba",
          "\u07fd", "\u1dfb", "\u1dfa", "\U00011935\U00011930", "\U0001e2ae\u0301",
          "<s>", "</s>", "<|end|>", "<|endoftext|>", "<|im_start|>", "<|im", "<tool>", " <tool> ", "mañana", "man\u0303ana", "<|", "|>", "word", "words",
          "ſ", "K", "İ", "ß", "ǰ", "🏳️‍🌈", "👩‍👧", "日本語", "한국어", "ไม่", "हिन्दी", "العربية", "--", "...", "!?", "://", "()", "{}", "\\", "\"", "_", "$", "+1"]


def code_point(random):
    """A random character, mostly from the crowded places."""
    while True:
        kind = random.random()
        if kind < 0.3:
            code = random.randrange(0x20, 0x7F)
        elif kind < 0.6:
            code = random.randrange(0x80, 0x3100)
        elif kind < 0.7:
            code = random.randrange(0x0300, 0x0370)
        elif kind < 0.85:
            code = random.randrange(0x3100, 0x10000)
        else:
            code = random.randrange(0x10000, 0x20000) if kind < 0.97 else random.randrange(0x20000, 0x110000)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def nasty_text(random):
    words = SENTENCES.split(" ")
    parts = []
    for _ in range(random.choice([1, 2, 3, 5, 8, 13, 30])):
        kind = random.random()
        if kind < 0.3:
            parts.append(random.choice(words))
        elif kind < 0.4:
            parts.append(" ")
        elif kind < 0.75:
            parts.append(random.choice(PIECES))
        elif kind < 0.8:
            parts.append(random.choice(PIECES) * random.randrange(1, 9))
        else:
            parts.append("".join(code_point(random) for _ in range(random.randrange(1, 6))))
    return random.choice(["", "", " "]).join(parts)


def pre_tokenizer(pattern, prefix_space):
    if pattern == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=True)
    if pattern == "none":
        return pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
    regex = {"llama3": LLAMA3, "qwen2": QWEN2, "gpt2_split": GPT2}[pattern]
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated", invert=False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def token(content, **flags):
    return {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | flags


def make(name, pattern, size, *, nfc=False, prefix_space=False, ignore_merges=False, pairs=True, crossed=True, shuffled=False, template=None, added="plain"):
    """Trains a tokenizer and writes it as its JSON, in the form asked for. Crossed: trained on lines that are not split, so that a word
    that ends in the wrong place shows in the ids."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizer("none" if crossed else pattern, prefix_space)
    trained.decoder = decoders.ByteLevel()
    if nfc:
        trained.normalizer = normalizers.NFC()
    source = random.Random(name)
    texts = SENTENCES.split("\n") * 3 + [nasty_text(source) for _ in range(300)]
    if crossed:
        texts += ["\nx", "\r\nthe", "12345", "a1", "1a", "'ſ", "x 's", "! \n\n", "   x", "\t\tx", "\n\n  y", " !\n", "\u00a0a", ".a"] * 40
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=[],
                                                           initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    trained.pre_tokenizer = pre_tokenizer(pattern, prefix_space)
    tree = json.loads(trained.to_str())
    vocab = tree["model"]["vocab"]
    if ignore_merges:  # a whole word that no merge makes
        for word in ("\u0120lazy", "quick", "\u0120mo\u00c5\u00a6"):
            vocab.setdefault(word, len(vocab))
    if shuffled:  # ranks that no training gives
        source.shuffle(tree["model"]["merges"])
    if not pairs:
        tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]
    tree["model"]["ignore_merges"] = ignore_merges
    tokens = [token("<|endoftext|>"), token("<|im_start|>"), token("<|end|>")]
    if added == "flags":
        tokens += [token("<tool>", lstrip=True, rstrip=True, special=False), token("<s>", lstrip=True), token("</s>", rstrip=True),
                   token("man\u0303ana", normalized=True, special=False), token("<|en", special=False),
                   token("word", normalized=True, special=False), token("words", normalized=True, special=False),
                   token("  ", special=False), token("q", special=False)]
    following = len(vocab)
    for one in tokens:  # as tokenizers numbers them: a token that the vocabulary has keeps its id
        one["id"] = vocab.get(one["content"], following)
        following += one["content"] not in vocab
    tree["added_tokens"] = tokens
    if template:
        before = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
        after = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        processor = {"type": "TemplateProcessing", "single": [before, text, after] if template == "both" else [before, text],
                     "pair": [before, text, {"Sequence": {"id": "B", "type_id": 1}}],
                     "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [tokens[0]["id"]], "tokens": ["<|endoftext|>"]},
                                        "<|end|>": {"id": "<|end|>", "ids": [tokens[2]["id"]], "tokens": ["<|end|>"]}}}
        level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        tree["post_processor"] = {"type": "Sequence", "processors": [level, processor]} if template == "both" else processor
    return tree


# name -> (pattern, options); the first four are also the fixtures
KINDS = {
    "gpt2": ("gpt2", dict(pairs=False)),
    "llama3": ("llama3", dict(ignore_merges=True, template="begin")),
    "qwen2": ("qwen2", dict(nfc=True)),
    "flags": ("qwen2", dict(nfc=True, added="flags", template="both", pairs=False)),
    "gpt2_prefix": ("gpt2", dict(crossed=False, prefix_space=True, nfc=True, added="flags")),
    "gpt2_split": ("gpt2_split", dict(ignore_merges=True)),
    "none": ("none", dict(added="flags")),
    "shuffled": ("qwen2", dict(nfc=True, shuffled=True, pairs=False)),
    "llama3_flags": ("llama3", dict(crossed=False, added="flags", ignore_merges=True, template="both")),
}


def decode(reference, ids, skip_special):
    """Nothing where an added token is looked for in normalised text: 0.22 gives its text, 0.23 takes the normalised one for bytes."""
    if any(flags.normalized and not flags.content.isascii() for flags in map(reference.get_added_tokens_decoder().get, ids) if flags):
        return None
    return reference.decode(ids, skip_special_tokens=skip_special)


def write(folder, tree, texts):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tree, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with open(folder / "cases.jsonl", "w", encoding="utf-8") as out:
        for i, text in enumerate(texts):
            special = i % 3 != 0
            ids = reference.encode(text, add_special_tokens=special).ids
            decoded = decode(reference, ids, i % 2 == 0)
            out.write(json.dumps({"text": text, "add_special": special, "ids": ids, "skip_special": i % 2 == 0, "decoded": decoded},
                                 separators=(",", ":")) + "\n")


def random_ids(tree, count, random):
    top = 1 + max([*tree["model"]["vocab"].values(), *(t["id"] for t in tree["added_tokens"])])
    return [[random.randrange(top + 2) for _ in range(random.randrange(1, 12))] for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fixtures", action="store_true")
    options = parser.parse_args()
    for name, (pattern, choice) in KINDS.items():
        if options.fixtures and name not in ("gpt2", "llama3", "qwen2", "flags"):
            continue
        tree = make(name, pattern, 340 if options.fixtures else 2000, **choice)
        texts_from = random.Random(f"{name} {options.seed}")
        count = 60 if options.fixtures else options.count
        texts = ["", " ", "\n", "'s", "<|end|>", *SENTENCES.split("\n"), *PIECES] if not options.fixtures else \
            ["", *SENTENCES.split("\n"), *(" ".join(PIECES[i::6]) + "".join(PIECES[i::6]) for i in range(6)), "\nx\r\nthe 12345 'ſ\tx\n\n  y"]
        texts += [nasty_text(texts_from) for _ in range(count - len(texts))]
        folder = options.folder / name
        write(folder, tree, texts)
        reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
        with open(folder / "cases.jsonl", "a", encoding="utf-8") as out:  # what a model may say
            for ids in random_ids(tree, count // 10, texts_from):
                out.write(json.dumps({"ids": ids, "skip_special": True, "decoded": decode(reference, ids, True)}, separators=(",", ":")) + "\n")
        print(f"{name}: {len(tree['model']['vocab'])} tokens, {len(tree['model']['merges'])} merges, {count} texts, {count // 10} lists of ids")
    if not options.fixtures:  # every character behind and before others: classes, contractions and normalisation
        tree = make("characters", "llama3", 300, nfc=True)
        points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and (c < 0x3400 or c >= 0xA000) and not 0xAC10 <= c < 0xD790
                  and (c < 0x20000 or c % 97 == 0 or 0xE0000 <= c < 0xE0200)]
        texts = ["".join(f"x{c} '{c}1{c}!{c}q\u0345{c}\u0301\u0334 " for c in points[i:i + 16]) for i in range(0, len(points), 16)]
        write(options.folder / "characters", tree, texts)
        print(f"characters: {len(points)} characters in {len(texts)} texts")
    print(f"tokenizers {tokenizers.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
