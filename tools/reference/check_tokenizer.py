"""Checks src/text/bpe-train.ts and src/text/tokenizer.ts against Hugging Face, in one command:

    python tools/reference/check_tokenizer.py

For several training texts and options: our trainer's merges equal those of Rust's `tokenizers` (BpeTrainer); our
tokenizer.json opens in transformers (PreTrainedTokenizerFast) and gives the ids and the texts that ours gives, also for
text in which special tokens are not to be parsed. Needs transformers and tokenizers; uses ../shared/data where it is there.
Prints one JSON line; exits 1 at the first difference.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

root = Path(__file__).resolve().parents[2]
shared = Path(os.environ.get("GRADUALLY_SHARED", root.parent / "shared")) / "data"
default_pattern = r"\p{N}+| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def ours(train, options, texts):
    node = root / "node_modules/.bin/node"
    request = json.dumps({"train": train, "options": options, "texts": texts})
    answer = subprocess.run([str(node), str(root / "tools/reference/tokenizer-ids.ts")], input=request, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def rust_merges(train, options):
    special = [t if isinstance(t, str) else t["content"] for t in options.get("specialTokens", [])]
    tokenizer = Tokenizer(models.BPE())
    pattern = options.get("pattern", default_pattern)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern is not None else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    trainer = trainers.BpeTrainer(
        vocab_size=options["vocabSize"],
        min_frequency=options.get("minFrequency", 2),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Rust's trainer does not cut special tokens out of the training texts; ours does, so they are cut here.
    parts = []
    for text in train:
        pieces = [text]
        for token in special:
            pieces = [part for piece in pieces for part in piece.split(token)]
        parts.extend(pieces)
    tokenizer.train_from_iterator(parts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def arithmetic(count):
    rng = random.Random(1)
    for _ in range(count):
        a, b, c = (rng.randint(1, 99) for _ in range(3))
        yield f"<bos>{a},{b},{c}={a * b - c}:<think>{a}*{b}={a * b},{a * b}-{c}={a * b - c}!</think>({a}*{b})-{c}<eos>"


def main():
    special = ["<bos>", "<eos>", {"content": "<think>", "special": False}, {"content": "</think>", "special": False}]
    texts = ["", " ", "a", "12345 12 7", "It's  fine.\n\n\tx ", "Zoë café 中文 😀 👩‍👩‍👧‍👦 e\u0301", "\u00a0\u00ad\ufeff\u0085", "(3*5)+7=22!"]
    texts += ["<bos>1+2=<think>3</think>3<eos>", "<bos", "<<bos>>", "</think></think>", "a<eos>b <eos> c"]
    texts += list(arithmetic(50))
    rng = random.Random(2)
    texts += ["".join(rng.choice("ab1 \n\t.<é中😀'") for _ in range(rng.randint(1, 60))) for _ in range(300)]
    cases = {
        "arithmetic": (list(arithmetic(5000)), {"vocabSize": 600, "specialTokens": special}),
        "no pattern": (list(arithmetic(300)), {"vocabSize": 500, "pattern": None, "minFrequency": 1}),
        "runs of one letter": (["a" * 1000, "aaa bbb" * 50, "ababab" * 30], {"vocabSize": 300, "minFrequency": 1}),
        "little text": (["hello hello"], {"vocabSize": 1000}),
    }
    if shared.exists():
        shakespeare = (shared / "datasets/tinyshakespeare/input.txt").read_text()
        cases["shakespeare"] = ([shakespeare], {"vocabSize": 4096, "specialTokens": ["<bos>"]})
        rows = [json.loads(line) for line in (shared / "datasets/gsm8k/train.jsonl").read_text().splitlines()]
        cases["gsm8k"] = ([f"<bos>{r['question']}<think>{r['answer']}<eos>" for r in rows], {"vocabSize": 8192, "specialTokens": special})
        texts += [shakespeare[:20000]] + [r["question"] for r in rows[:200]]
    else:
        print(f"{shared} is absent: two cases are left out", file=sys.stderr)

    report = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__, "cases": {}}
    for name, (train, options) in cases.items():
        made = ours(train, options, texts)
        model = json.loads(made["tokenizer"])["model"]
        vocab, merges = rust_merges(train, options)
        assert [list(m) for m in merges] == model["merges"], f"{name}: merges differ"
        assert vocab == model["vocab"], f"{name}: vocabularies differ"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_text(made["tokenizer"])
            theirs = PreTrainedTokenizerFast(tokenizer_file=str(path))
            for text, ids, plain, decoded in zip(texts, made["ids"], made["plain"], made["decoded"], strict=True):
                assert theirs.encode(text) == ids, f"{name}: ids of {text!r} differ: {theirs.encode(text)} {ids}"
                # Hugging Face keeps its non-special added tokens (`<think>`) whole even then; ours do not.
                if "think>" not in text:
                    split = theirs(text, split_special_tokens=True)["input_ids"]
                    assert split == plain, f"{name}: plain ids of {text!r} differ: {split} {plain}"
                assert theirs.decode(ids, clean_up_tokenization_spaces=False) == decoded == text, f"{name}: {text!r} does not come back"
        report["cases"][name] = {"vocab": len(vocab), "merges": len(merges), "texts": len(texts)}
    print(json.dumps(report))


main()
