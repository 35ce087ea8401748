"""Writes test/fixtures/engine/sampling.json: rows of logits, ids so far, settings, and the probabilities that the logits processors of
transformers leave, in the order in which generate() applies them (repetition penalty, temperature, top-k, top-p, min-p, typical).

transformers 5.18, torch 2.13 (CPU, float64). Run: python tools/reference/make_sampler_fixtures.py
"""

import json
import random
from pathlib import Path

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

out = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "engine" / "sampling.json"
rng = random.Random(5)
cases = []
for index in range(48):
    width = rng.choice([5, 17, 40])
    logits = [float(torch.tensor(rng.gauss(0, 3), dtype=torch.float32)) for _ in range(width)]
    ids = [rng.randrange(width) for _ in range(rng.choice([1, 4, 12]))]
    pick = lambda value: value if rng.random() < 0.5 else None
    settings = {
        "repetitionPenalty": pick(rng.choice([0.8, 1.1, 1.5])),
        "temperature": pick(rng.choice([0.3, 0.7, 1.6])),
        "topK": pick(rng.choice([1, 3, 10])),
        "topP": pick(rng.choice([0.2, 0.8, 0.95])),
        "minP": pick(rng.choice([0.02, 0.1, 0.5])),
        "typicalP": pick(rng.choice([0.2, 0.6, 0.95])),
    }
    makers = {
        "repetitionPenalty": RepetitionPenaltyLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "topK": TopKLogitsWarper,
        "topP": TopPLogitsWarper,
        "minP": MinPLogitsWarper,
        "typicalP": TypicalLogitsWarper,
    }
    scores = torch.tensor([logits], dtype=torch.float64)
    for name, maker in makers.items():
        if settings[name] is not None:
            scores = maker(settings[name])(torch.tensor([ids]), scores)
    probabilities = torch.softmax(scores, dim=-1)[0].tolist()
    cases.append(
        {
            "logits": logits,
            "ids": ids,
            "settings": {name: value for name, value in settings.items() if value is not None},
            "probabilities": [float(f"{p:.9g}") for p in probabilities],
        }
    )
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps({"source": "transformers 5.18 logits processors", "cases": cases}) + "\n")
