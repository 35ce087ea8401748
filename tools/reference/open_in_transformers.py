"""Opens a folder that gradually wrote with transformers, and compares logits.

Run: python tools/reference/open_in_transformers.py FOLDER LOGITS.json   (torch 2.13, transformers 5.18, CPU, float32)

LOGITS.json is {"ids": [[...], ...], "logits": [[[...], ...], ...]}: for each sequence its ids and our logits [T, V].
Prints one JSON document: {"largest_difference", "largest_logit", "positions", "missing", "unexpected", "mismatched"}, the last three as
transformers reports them (tensors of the multi-token prediction layer, which it does not load, are left out of "unexpected").
Exit 1 when a tensor is missing, unexpected or of another shape, or when logits differ by more than 1e-3.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM


def main():
    folder, path = sys.argv[1:]
    given = json.loads(open(path).read())
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True, local_files_only=True
    )
    model.eval()
    extra_layer = f"model.layers.{model.config.num_hidden_layers}."
    report = {
        "largest_difference": 0.0,
        "largest_logit": 0.0,
        "positions": 0,
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(key for key in info["unexpected_keys"] if not key.startswith(extra_layer)),
        "mismatched": sorted(str(key) for key in info["mismatched_keys"]),
    }
    with torch.no_grad():
        for ids, ours in zip(given["ids"], given["logits"], strict=True):
            theirs = model(torch.tensor([ids])).logits[0]
            ours = torch.tensor(ours, dtype=torch.float32)
            if ours.shape != theirs.shape:
                raise SystemExit(f"logits of shape {tuple(ours.shape)}; transformers gives {tuple(theirs.shape)}")
            report["largest_difference"] = max(report["largest_difference"], float((ours - theirs).abs().max()))
            report["largest_logit"] = max(report["largest_logit"], float(theirs.abs().max()))
            report["positions"] += len(ids)
    print(json.dumps(report))
    wrong = report["missing"] or report["unexpected"] or report["mismatched"] or not report["largest_difference"] <= 1e-3
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
