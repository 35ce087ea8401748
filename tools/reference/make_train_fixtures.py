"""Makes test/fixtures/train: what PyTorch computes for the optimiser, the schedule and the GRPO losses, in float64.

    python tools/reference/make_train_fixtures.py          (torch 2.13.0, transformers 5.18.0)

adamw.json     20 steps of torch.optim.AdamW (decay on matrices only) with torch.nn.utils.clip_grad_norm_, gradients given.
schedule.json  transformers' get_cosine_schedule_with_warmup.
grpo.json      loss, metrics and gradient of each loss_type. Written from the definitions (specs.md 1.9, TRL's documentation of GRPOTrainer) over
               padded sequences with masks, while ours is flat: the two share no structure.
"""

import json
import pathlib

import torch
from transformers import get_cosine_schedule_with_warmup

OUT = pathlib.Path(__file__).parents[2] / "test/fixtures/train"
torch.set_default_dtype(torch.float64)


def write(name, value):
    (OUT / name).write_text(json.dumps(value) + "\n")


def adamw():
    generator = torch.Generator().manual_seed(1)
    shapes = {"matrix": [3, 4], "norm": [5], "stack": [2, 2, 3], "bias": [1]}
    start = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
    decayed = [p for p in parameters.values() if p.dim() >= 2]
    plain = [p for p in parameters.values() if p.dim() < 2]
    options = dict(betas=(0.9, 0.95), eps=1e-8)
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=1e-2, **options)
    steps = []
    for step in range(20):
        # Every third gradient is large, so that clipping acts on some steps and not on others.
        scale = 3.0 if step % 3 == 0 else 0.1
        for p in parameters.values():
            p.grad = torch.randn(p.shape, generator=generator) * scale
        gradients = {name: p.grad.flatten().tolist() for name, p in parameters.items()}
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        rate = 1e-2 * (1 - step / 40)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        after = {name: p.detach().flatten().tolist() for name, p in parameters.items()}
        steps.append({"learningRate": rate, "gradients": gradients, "norm": norm.item(), "after": after if step in (0, 4, 19) else None})
    write("adamw.json", {"shapes": shapes, "start": {name: value.flatten().tolist() for name, value in start.items()}, "steps": steps})


def schedule():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    scheduler = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=5, num_training_steps=40)
    rates = []
    for _ in range(40):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    write("schedule.json", {"learningRate": 0.5, "warmupSteps": 5, "steps": 40, "rates": rates})


def grpo_case(generator, loss_type, microbatches, beta, epsilon_high, masked):
    """Six sequences in groups of three; lengths differ; two microbatches of three sequences where asked."""
    V, lengths, longest, epsilon = 7, [4, 1, 6, 3, 5, 2], 8, 0.2
    N, T = len(lengths), max(lengths)
    mask = torch.zeros(N, T)
    for i, n in enumerate(lengths):
        mask[i, :n] = 1
    truncated = [False, False, True, False, True, False]
    if masked:
        for i, cut in enumerate(truncated):
            if cut:
                mask[i] = 0
    logits = torch.randn(N, T, V, generator=generator, requires_grad=True)
    ids = torch.randint(0, V, (N, T), generator=generator)
    logp = torch.log_softmax(logits, -1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    old = logp.detach() + 0.4 * torch.randn(N, T, generator=generator)
    ref = logp.detach() + 0.3 * torch.randn(N, T, generator=generator)
    rewards = torch.tensor([1.0, 0.0, 0.1, 0.1, 1.0, 1.0])
    groups = rewards.view(2, 3)
    advantage = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()

    ratio = torch.exp(logp - old)
    unclipped = ratio * advantage[:, None]
    clipped = torch.clamp(ratio, 1 - epsilon, 1 + epsilon_high) * advantage[:, None]
    per_token = -torch.min(unclipped, clipped)
    kl = torch.exp(ref - logp) - (ref - logp) - 1
    if beta > 0:
        per_token = per_token + beta * kl

    loss = torch.zeros(())
    size = N // microbatches
    for start in range(0, N, size):
        part, m = per_token[start : start + size], mask[start : start + size]
        if loss_type == "grpo":
            loss = loss + ((part * m).sum(1) / m.sum(1).clamp(min=1)).mean() / microbatches
        elif loss_type == "bnpo":
            loss = loss + (part * m).sum() / m.sum().clamp(min=1) / microbatches
        elif loss_type == "dapo":
            loss = loss + (part * m).sum() / mask.sum().clamp(min=1)
        elif loss_type == "dr_grpo":
            loss = loss + (part * m).sum() / (size * longest) / microbatches
    loss.backward()

    total = mask.sum()
    low = (ratio < 1 - epsilon) & (advantage[:, None] < 0)
    high = (ratio > 1 + epsilon_high) & (advantage[:, None] > 0)
    mean = lambda x: ((x * mask).sum() / total).item()
    return {
        "lossType": loss_type, "microbatches": microbatches, "beta": beta, "epsilon": epsilon, "epsilonHigh": epsilon_high,
        "masked": masked, "maxCompletionLength": longest, "groupSize": 3, "V": V, "rewards": rewards.tolist(), "advantages": advantage.tolist(),
        "sequences": [
            {
                "ids": ids[i, :n].tolist(), "truncated": truncated[i], "logits": logits[i, :n].detach().flatten().tolist(),
                "old": old[i, :n].tolist(), "reference": ref[i, :n].tolist(), "gradient": logits.grad[i, :n].flatten().tolist(),
            }
            for i, n in enumerate(lengths)
        ],
        "loss": loss.item(), "kl": mean(kl), "low": mean(low.double()), "high": mean(high.double()),
    }


def grpo():
    generator = torch.Generator().manual_seed(2)
    cases = []
    for loss_type in ["grpo", "bnpo", "dapo", "dr_grpo"]:
        for microbatches, beta, epsilon_high, masked in [(1, 0.0, 0.2, False), (2, 0.04, 0.28, False), (2, 0.0, 0.2, True)]:
            cases.append(grpo_case(generator, loss_type, microbatches, beta, epsilon_high, masked))
    rewards = torch.tensor([1.0, 0.0, 0.1, 0.1, 1.0, 1.0, 0.1, 0.1, 0.1])
    groups = rewards.view(3, 3)
    centred = groups - groups.mean(1, keepdim=True)
    advantages = {
        "group": (centred / (groups.std(1, keepdim=True) + 1e-4)).flatten().tolist(),
        "batch": (centred / (rewards.std() + 1e-4)).flatten().tolist(),
        "none": centred.flatten().tolist(),
    }
    write("grpo.json", {"cases": cases, "rewards": rewards.tolist(), "advantages": advantages, "rewardStd": rewards.std().item()})


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    adamw()
    schedule()
    grpo()
