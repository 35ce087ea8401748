"""Writes test/fixtures/eval/perplexity.json: the perplexity that transformers finds for stories260K on the beginning of Tiny Shakespeare, by the method of llama.cpp's
tool (chunks of one length, each begun by the BOS token, the second half scored), for the weights as they are and as GGUF files of other types hold them.

transformers 5.18, torch 2.13 (CPU, float32; log-softmax in float64), gguf. Run:
    for t in f16 q8_0 q4_0; do node src/cli/main.ts quantize SHARED/models/stories260K/hf OUT/stories-$t.gguf --type $t; done
    python tools/reference/make_perplexity_fixtures.py SHARED OUT
"""

import json
import math
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

shared, quantised = Path(sys.argv[1]), Path(sys.argv[2])
folder = shared / "models" / "stories260K" / "hf"
chunk = 256
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
bos = json.loads((folder / "config.json").read_text())["bos_token_id"]
text = (shared / "datasets" / "tinyshakespeare" / "input.txt").read_bytes()


def score(model, size):
    ids = tokenizer.encode(text[:size].decode("utf-8")).ids
    parts = torch.tensor([[bos, *ids[start + 1 : start + chunk]] for start in range(0, len(ids) - chunk + 1, chunk)])
    first = chunk // 2 + 1
    losses = []
    for batch in parts.split(32):
        with torch.no_grad():
            rows = torch.log_softmax(model(batch).logits[:, first - 1 : -1].double(), dim=-1)
        losses += (-rows.gather(-1, batch[:, first:, None])).flatten().tolist()
    return {"bytes": size, "tokens": len(losses), "perplexity": math.exp(sum(losses) / len(losses))}


cases = []
for name in ["hf", "f16", "q8_0", "q4_0"]:
    if name == "hf":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(quantised, gguf_file=f"stories-{name}.gguf", dtype=torch.float32)
    model.eval()
    for size in [12_000, 100_000]:
        cases.append({"weights": name, **score(model, size)})
        print(cases[-1])
out = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "eval" / "perplexity.json"
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps({"source": "transformers 5.18, stories260K, Tiny Shakespeare", "chunk": chunk, "cases": cases}, indent=2) + "\n")
