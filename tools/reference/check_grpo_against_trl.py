"""Runs TRL's own GRPOTrainer._compute_loss over the cases of test/fixtures/train/grpo.json and compares the losses.

    python tools/reference/check_grpo_against_trl.py       (trl 1.16.0, torch 2.13.0)

The fixture is written from the definitions (make_train_fixtures.py); this says that the definitions are TRL's. Prints one line for each case.
"""

import collections
import json
import pathlib
import types

import torch
from trl.trainer.grpo_trainer import GRPOTrainer

torch.set_default_dtype(torch.float64)
FIXTURE = pathlib.Path(__file__).parents[2] / "test/fixtures/train/grpo.json"


class OneProcess:
    num_processes = 1

    def gather(self, x):
        return x

    def gather_for_metrics(self, x):
        return x

    def reduce(self, x, reduction="sum"):
        return x


def loss_of(case):
    sequences = case["sequences"]
    N, T, V = len(sequences), max(len(s["ids"]) for s in sequences), case["V"]
    mask, logp, old, ref = (torch.zeros(N, T) for _ in range(4))
    for i, s in enumerate(sequences):
        n = len(s["ids"])
        logits = torch.tensor(s["logits"]).view(n, V)
        logp[i, :n] = torch.log_softmax(logits, -1).gather(-1, torch.tensor(s["ids"])[:, None])[:, 0]
        old[i, :n] = torch.tensor(s["old"])
        ref[i, :n] = torch.tensor(s["reference"])
        if not (case["masked"] and s["truncated"]):
            mask[i, :n] = 1
    parts = case["microbatches"]
    size = N // parts
    total = 0.0
    for start in range(0, N, size):
        part = slice(start, start + size)
        trainer = types.SimpleNamespace(
            args=types.SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=parts),
            model=types.SimpleNamespace(training=True),
            accelerator=OneProcess(),
            aux_loss_enabled=False,
            top_entropy_quantile=1.0,
            off_policy_mask_threshold=None,
            importance_sampling_level="token",
            beta=case["beta"],
            loss_type=case["lossType"],
            epsilon_low=case["epsilon"],
            epsilon_high=case["epsilonHigh"],
            use_vllm=False,
            vllm_importance_sampling_correction=False,
            current_gradient_accumulation_steps=parts,
            max_completion_length=case["maxCompletionLength"],
            _entropy_bonus_enabled=False,
            _metrics={"train": collections.defaultdict(list)},
            _get_per_token_logps_and_entropies=lambda *args, part=part, **kwargs: (logp[part], torch.zeros_like(logp[part]), None),
        )
        inputs = dict(
            prompt_ids=torch.zeros(size, 1, dtype=torch.long),
            prompt_mask=torch.ones(size, 1),
            completion_ids=torch.zeros(size, T, dtype=torch.long),
            completion_mask=mask[part],
            advantages=torch.tensor(case["advantages"])[part],
            old_per_token_logps=old[part],
            ref_per_token_logps=ref[part],
            num_items_in_batch=mask.sum(),
        )
        total += GRPOTrainer._compute_loss(trainer, None, inputs).item()
    return total


if __name__ == "__main__":
    wrong = 0
    for case in json.loads(FIXTURE.read_text())["cases"]:
        theirs = loss_of(case)
        same = abs(theirs - case["loss"]) < 1e-12
        wrong += not same
        print(case["lossType"], case["microbatches"], case["beta"], case["masked"], theirs, "same" if same else f"NOT {case['loss']}")
    raise SystemExit(1 if wrong else 0)
