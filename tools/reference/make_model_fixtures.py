"""Writes the small random checkpoints of test/fixtures/models with what the reference implementation makes of them.

Run: python tools/reference/make_model_fixtures.py [NAME ...]   (torch 2.13, transformers 5.18, CPU, float32; about a minute)

Each folder holds config.json and model.safetensors as transformers saves them, expected.safetensors (logits.0, logits.1: one per
sequence of ids; mtp_logits.*: of the multi-token prediction head) and expected.json (ids, loss, the gradient norm of every
tensor of the file for the mean next-token cross-entropy over all sequences, and 24 greedy tokens). Weights are drawn
larger than an initialisation so that every part matters; seeds are tried in order until no routing choice and no greedy
choice is nearly a tie, so that float32 sums in another order choose the same. rope.json holds rotary frequencies of published settings.

Checkpoints in bfloat16 and float16: the weights are rounded first, then everything is computed in float64 (transformers itself drops to
float32 inside norms, softmax and gates). FP8 checkpoints: the weights are quantised by blocks, and everything is computed from the
dequantised ones. Positions beyond the original context: LONG ids under YaRN and llama3 scaling.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)
from transformers.modeling_layers import MtpModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "models"
GREEDY = 24
LENGTHS = (11, 7)
LONG = (23, 14)
MTP_WEIGHT = 0.3
ROUTING_MARGIN = 2e-4
GREEDY_MARGIN = 2e-3

llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 8, "beta_slow": 1}
deepseek = dict(hidden_size=20, intermediate_size=26, moe_intermediate_size=9, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3,
                n_shared_experts=1, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2, first_k_dense_replace=1, kv_lora_rank=11, q_lora_rank=7,
                qk_nope_head_dim=5, qk_rope_head_dim=6, v_head_dim=7, max_position_embeddings=128, vocab_size=61, num_mtp_layers=0)

llama3_short = dict(llama3, original_max_position_embeddings=12)
yarn_short = dict(yarn, original_max_position_embeddings=12, beta_fast=3, beta_slow=0.4)
# Even sizes before the rotary part: transformers views it as complex numbers.
v2 = dict(hidden_size=18, intermediate_size=22, moe_intermediate_size=7, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, n_shared_experts=2,
          n_routed_experts=6, num_experts_per_tok=2, n_group=1, topk_group=1, first_k_dense_replace=1, kv_lora_rank=8, q_lora_rank=None, qk_nope_head_dim=4,
          qk_rope_head_dim=6, v_head_dim=7, max_position_embeddings=128, vocab_size=47, topk_method="greedy", scoring_func="softmax", norm_topk_prob=False,
          routed_scaling_factor=1.0, rope_theta=100.0)
qwen2 = dict(vocab_size=53, hidden_size=24, intermediate_size=34, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, rope_theta=1000000.0)
qwen3 = dict(vocab_size=59, hidden_size=21, intermediate_size=30, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=6, max_position_embeddings=128, rope_theta=1000000.0)
qwen3_moe = dict(qwen3, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=7, mlp_only_layers=[], decoder_sparse_step=1, norm_topk_prob=True)
small = dict(deepseek, hidden_size=18, num_hidden_layers=2, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1, vocab_size=47)

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
    "deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM),
    "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM),
}

# name -> family, settings, and if need be: seed to begin with, lengths of the ids, dtype of the file, fp8 blocks, keys of config.json to write
# otherwise than transformers does (None: leave out), as published files have them.
FIXTURES = {
    "llama-gqa": ("llama", dict(vocab_size=53, hidden_size=24, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)),
    "llama-tied-llama3": ("llama", dict(vocab_size=71, hidden_size=32, intermediate_size=45, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=128,
                                        tie_word_embeddings=True, rope_theta=5000.0, rope_scaling=llama3, rms_norm_eps=1e-5)),
    "llama-biases-head-dim": ("llama", dict(vocab_size=43, hidden_size=21, intermediate_size=33, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, head_dim=10,
                                            max_position_embeddings=64, attention_bias=True, mlp_bias=True, rope_theta=1000.0)),
    "llama-yarn": ("llama", dict(vocab_size=47, hidden_size=24, intermediate_size=31, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=128,
                                 rope_theta=100.0, rope_scaling=yarn)),
    "deepseek-groups": ("deepseek_v3", dict(deepseek)),
    "deepseek-whole-query": ("deepseek_v3", dict(deepseek, q_lora_rank=None, n_routed_experts=5, num_experts_per_tok=2, n_group=1, topk_group=1, n_shared_experts=2, first_k_dense_replace=0,
                                                 num_hidden_layers=2, norm_topk_prob=False, routed_scaling_factor=1.7, rope_interleave=False, attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-5)),
    "deepseek-yarn": ("deepseek_v3", dict(deepseek, num_hidden_layers=2, rope_theta=100.0, rope_scaling=dict(yarn, mscale=1.0, mscale_all_dim=0.7))),
    "deepseek-mtp": ("deepseek_v3", dict(deepseek, num_hidden_layers=2, num_mtp_layers=1, rope_scaling=dict(yarn, mscale=1.0, mscale_all_dim=1.0))),
    "deepseek-masked-zero": ("deepseek_v3", dict(deepseek, num_hidden_layers=2)),
    "llama-long-llama3": ("llama", dict(vocab_size=47, hidden_size=24, intermediate_size=35, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=128,
                                        rope_theta=50.0, rope_scaling=llama3_short, rms_norm_eps=1e-5), dict(seed=101, lengths=LONG)),
    "llama-linear": ("llama", dict(vocab_size=41, hidden_size=20, intermediate_size=27, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
                                   rope_scaling={"rope_type": "linear", "factor": 2.5}), dict(seed=111, config={"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.5}})),
    "llama-f16": ("llama", dict(vocab_size=43, hidden_size=24, intermediate_size=31, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64), dict(seed=121, dtype="float16")),
    "qwen2-biases": ("qwen2", dict(qwen2), dict(seed=201, config={"sliding_window": 4, "use_sliding_window": False, "max_window_layers": 1, "layer_types": None})),
    "qwen2-tied-yarn": ("qwen2", dict(qwen2, vocab_size=47, hidden_size=20, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, rope_theta=100.0, rope_scaling=yarn_short),
                        dict(seed=211, lengths=LONG, config={"rope_parameters": None, "rope_theta": 100.0, "rope_scaling": dict({k: v for k, v in yarn_short.items() if k != "rope_type"}, type="yarn")})),
    "qwen2-bf16": ("qwen2", dict(qwen2, num_key_value_heads=4, rope_theta=10000.0), dict(seed=221, dtype="bfloat16")),
    "qwen3-tied": ("qwen3", dict(qwen3, tie_word_embeddings=True), dict(seed=301)),
    "qwen3-biases-yarn": ("qwen3", dict(qwen3, vocab_size=43, num_attention_heads=3, num_key_value_heads=3, head_dim=8, attention_bias=True, rope_theta=100.0, rms_norm_eps=1e-5,
                                        rope_scaling=dict(yarn_short, truncate=False)), dict(seed=311, lengths=LONG)),
    "qwen3-moe": ("qwen3_moe", dict(qwen3_moe), dict(seed=401, config={"num_local_experts": None, "num_experts": 5})),
    "qwen3-moe-sparse": ("qwen3_moe", dict(qwen3_moe, hidden_size=14, intermediate_size=17, vocab_size=31, moe_intermediate_size=5, num_hidden_layers=5, decoder_sparse_step=2, mlp_only_layers=[1], norm_topk_prob=False, num_experts=6, num_experts_per_tok=3,
                                           tie_word_embeddings=True, rope_theta=100.0, rope_scaling=yarn_short), dict(seed=411, lengths=LONG)),
    "qwen3-moe-bf16": ("qwen3_moe", dict(qwen3_moe), dict(seed=421, dtype="bfloat16")),
    "deepseek-v2-lite": ("deepseek_v2", dict(v2, rope_scaling=dict(yarn_short, mscale=0.707, mscale_all_dim=0.707)), dict(seed=501, lengths=LONG)),
    "deepseek-v2-groups": ("deepseek_v2", dict(v2, n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3, topk_method="group_limited_greedy", routed_scaling_factor=16.0, q_lora_rank=7,
                                               n_shared_experts=1, attention_bias=True), dict(seed=511)),
    "deepseek-v2-bf16": ("deepseek_v2", dict(v2, n_group=3, topk_group=1, topk_method="group_limited_greedy", routed_scaling_factor=2.0, first_k_dense_replace=0), dict(seed=521, dtype="bfloat16")),
    "deepseek-long-yarn": ("deepseek_v3", dict(small, rope_theta=100.0, rope_scaling=dict(yarn_short, mscale=1.0, mscale_all_dim=1.0)), dict(seed=601, lengths=LONG)),
    "deepseek-f16": ("deepseek_v3", dict(small), dict(seed=611, dtype="float16")),
    "deepseek-fp8": ("deepseek_v3", dict(deepseek, num_hidden_layers=2), dict(seed=621, fp8={"block": [8, 16], "ue8m0": False})),
    "deepseek-fp8-ue8m0": ("deepseek_v3", dict(deepseek, num_hidden_layers=2), dict(seed=631, fp8={"block": [16, 8], "ue8m0": True})),
}


def fill(model, generator, bias_shift=0.0):
    """Random weights of the size that makes every part visible in the logits; correction biases that sway the choice."""
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *model.named_buffers()]:
            noise = torch.randn(p.shape, generator=generator)
            if "inv_freq" in name:
                continue
            if name.endswith("e_score_correction_bias"):
                p.copy_(0.15 * noise + bias_shift)
            elif "norm" in name:
                p.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                p.copy_(noise / p.shape[-1] ** 0.5 if model.config.tie_word_embeddings else noise)
            else:
                p.copy_(1.3 * noise / p.shape[-1] ** 0.5)


class Margins:
    """Smallest distance between what the gates chose and what they did not."""

    def __init__(self, model, masked):
        self.smallest = float("inf")
        self.disagreed = False  # would the other mask value have chosen other experts?
        self.masked = masked
        for module in model.modules():
            if isinstance(module, v3.DeepseekV3TopkRouter):
                module.register_forward_hook(self.look)
            elif isinstance(module, (DeepseekV2TopkRouter, Qwen3MoeTopKRouter)):
                module.register_forward_hook(self.look_at_softmax)

    def look_at_softmax(self, router, inputs, output):
        choice = output[0].float().softmax(-1)
        if getattr(router, "topk_method", "greedy") == "group_limited_greedy":
            groups = choice.view(len(choice), router.num_group, -1).amax(-1).sort(dim=-1, descending=True)
            self.note(groups.values[:, router.topk_group - 1] - groups.values[:, router.topk_group])
            kept = torch.zeros(len(choice), router.num_group, dtype=torch.bool).scatter(1, groups.indices[:, : router.topk_group], True)
            choice = choice.masked_fill(~kept.repeat_interleave(choice.shape[1] // router.num_group, dim=1), -1.0)
        chosen = choice.sort(dim=-1, descending=True).values
        last, next_ = chosen[:, router.top_k - 1], chosen[:, router.top_k]
        self.note(last - next_)

    def look(self, router, inputs, output):
        choice = output[0].sigmoid() + router.e_score_correction_bias
        grouped = choice.view(len(choice), router.num_group, -1)
        groups = grouped.topk(min(2, grouped.shape[-1]), dim=-1)[0].sum(-1).sort(dim=-1, descending=True)
        if router.topk_group < router.num_group:
            self.note(groups.values[:, router.topk_group - 1] - groups.values[:, router.topk_group])
        kept = torch.zeros(len(choice), router.num_group, dtype=torch.bool).scatter(1, groups.indices[:, : router.topk_group], True)
        mask = kept.repeat_interleave(grouped.shape[-1], dim=1)
        other = 0.0 if self.masked == float("-inf") else float("-inf")
        chosen = choice.masked_fill(~mask, self.masked).sort(dim=-1, descending=True)
        if router.top_k < choice.shape[1]:
            last, next_ = chosen.values[:, router.top_k - 1], chosen.values[:, router.top_k]
            self.note((last - next_)[(last != self.masked) | (next_ != self.masked)])  # masked ones tie exactly: the lower index
        alternative = choice.masked_fill(~mask, other).sort(dim=-1, descending=True, stable=True).indices[:, : router.top_k]
        same = output[2].sort(dim=-1).values == alternative.sort(dim=-1).values
        self.disagreed |= not bool(same.all())

    def note(self, distances):
        self.smallest = min([self.smallest, *distances.detach().tolist()])


def route_with_zero_mask(self, hidden_states):
    """DeepseekV3TopkRouter.forward as transformers 4 had it: dropped groups take the score 0.0."""
    hidden_states = hidden_states.view(-1, self.hidden_dim)
    logits = F.linear(hidden_states.float(), self.weight.float())
    scores = logits.sigmoid()
    choice = scores + self.e_score_correction_bias
    grouped = choice.view(len(choice), self.num_group, -1)
    kept = grouped.topk(2, dim=-1)[0].sum(-1).topk(self.topk_group, dim=-1)[1]
    mask = torch.zeros(grouped.shape[:2]).scatter(1, kept, 1).repeat_interleave(grouped.shape[-1], dim=1)
    indices = choice.masked_fill(~mask.bool(), 0.0).sort(dim=-1, descending=True, stable=True)[1][:, : self.top_k]
    weights = scores.gather(1, indices)
    weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * self.routed_scaling_factor
    return logits, weights, indices


class Next(torch.nn.Module):
    """Multi-token prediction from transformers' own layers: embedding first, the main model's state after its final norm."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.enorm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.hnorm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.eh_proj = torch.nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.block = v3.DeepseekV3DecoderLayer(config, config.num_hidden_layers)  # its number makes it a mixture
        self.norm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, main, hidden, next_ids):
        T = next_ids.shape[1]
        positions = torch.arange(T)[None]
        x = self.eh_proj(torch.cat([self.enorm(main.model.embed_tokens(next_ids)), self.hnorm(hidden)], dim=-1))
        causal = torch.full((T, T), float("-inf")).triu(1)[None, None]
        x = self.block(x, attention_mask=causal, position_ids=positions, position_embeddings=main.model.rotary_emb(x, positions))
        return main.lm_head(self.norm(x))

    def names(self, layer):
        """Our module names -> the names of the published layout, with experts one by one."""
        for name, p in [*self.named_parameters(), *self.named_buffers()]:
            for ours, theirs in (("block.", ""), ("norm.weight", "shared_head.norm.weight")):
                if name.startswith(ours):
                    name = theirs + name[len(ours):]
                    break
            yield from on_disk(f"model.layers.{layer}.{name}", p)


def on_disk(name, tensor):
    """transformers keeps experts fused in memory and one by one on disk."""
    if name.endswith("experts.gate_up_proj"):
        for e, both in enumerate(tensor):
            gate, up = both.chunk(2, dim=0)
            yield name.replace("gate_up_proj", f"{e}.gate_proj.weight"), gate
            yield name.replace("gate_up_proj", f"{e}.up_proj.weight"), up
    elif name.endswith("experts.down_proj"):
        for e, one in enumerate(tensor):
            yield name.replace("down_proj", f"{e}.down_proj.weight"), one
    else:
        yield name, tensor


def check_against_transformers(model, extra, ids, mtp_logits):
    """The last logits of our formulation are those of transformers' MtpModel with the same weights."""
    theirs = MtpModel(model, 1).eval()
    layer = theirs.layers[0]
    for mine, other in ((extra.enorm, layer.enorm), (extra.hnorm, layer.hnorm), (extra.eh_proj, layer.eh_proj), (extra.block, layer.mtp_block), (extra.norm, layer.post_norm)):
        other.load_state_dict(mine.state_dict())
    with torch.no_grad():
        hidden = model.model(ids[:, :-1]).last_hidden_state
        positions = torch.arange(1, ids.shape[1])[None]
        _, logits, _ = theirs(ids[:, 1:], hidden, None, positions, None)
    difference = float((logits[0, 0] - mtp_logits[-1].detach()).abs().max())
    assert difference < 1e-4, f"our formulation of MTP is {difference} away from transformers'"


def is_quantised(name, tensor):
    """The matrices that DeepSeek stores as FP8: all but embedding, head and gate."""
    return tensor.dim() == 2 and not any(part in name for part in ("embed_tokens", "lm_head", "mlp.gate.", "norm"))


def quantise(tensor, block, ue8m0):
    """[N, K] -> F8_E4M3 codes, one scale a block (a multiplier), and their product in float32. Ragged edges have smaller blocks."""
    rows, columns = tensor.shape
    down, across = -(-rows // block[0]), -(-columns // block[1])
    padded = torch.zeros(down * block[0], across * block[1])
    padded[:rows, :columns] = tensor
    blocks = padded.view(down, block[0], across, block[1])
    scale = blocks.abs().amax(dim=(1, 3)) / 448
    if ue8m0:
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
    spread = scale[:, None, :, None]
    codes = (blocks / spread).to(torch.float8_e4m3fn)
    whole = lambda t: t.reshape(padded.shape)[:rows, :columns].contiguous()
    return whole(codes), scale.to(torch.float8_e8m0fnu) if ue8m0 else scale, whole(codes.float() * spread)


def quantised_model(model, make, fp8):
    """The model with dequantised weights, and the tensors of the FP8 file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state, plain = {}, {}
        for name, tensor in load_file(Path(folder) / "model.safetensors").items():
            if is_quantised(name, tensor):
                state[name], state[f"{name}_scale_inv"], plain[name] = quantise(tensor, fp8["block"], fp8["ue8m0"])
            else:
                state[name] = plain[name] = tensor
        save_file(plain, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        return make.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval(), state


def write_config(path, changes):
    """config.json with keys added, replaced, or (None) taken out."""
    config = json.loads(path.read_text())
    for key, value in changes.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def attempt(name, family, settings, seed, lengths=LENGTHS, dtype=None, fp8=None, config_changes=None):
    generator = torch.Generator().manual_seed(seed)
    masked = 0.0 if name == "deepseek-masked-zero" else float("-inf")
    make = FAMILIES[family]
    config = make[0](**settings, bos_token_id=0, eos_token_id=1, attn_implementation="eager", experts_implementation="eager")
    model = make[1](config).eval()
    # With the zero mask the kept scores must fall below zero now and then, or the two masks choose alike.
    fill(model, generator, bias_shift=-0.55 if masked == 0.0 else 0.0)
    if masked == 0.0:
        for module in model.modules():
            if isinstance(module, v3.DeepseekV3TopkRouter):
                module.forward = route_with_zero_mask.__get__(module)
    quantised = None
    if fp8:
        model, quantised = quantised_model(model, make[1], fp8)
    if dtype:
        with torch.no_grad():
            for tensor_name, p in [*model.named_parameters(), *model.named_buffers()]:
                if "inv_freq" not in tensor_name:
                    p.copy_(p.to(getattr(torch, dtype)))
        model = model.double()
    extra = None
    if settings.get("num_mtp_layers"):
        extra = Next(config).eval()
        fill(extra, generator)
    margins = [Margins(m, masked) for m in (model, extra) if m is not None]

    ids = [torch.randint(0, config.vocab_size, (1, length), generator=generator) for length in lengths]
    tensors, loss, mtp_loss = {}, 0.0, 0.0
    for i, sequence in enumerate(ids):
        hidden = model.model(sequence).last_hidden_state
        logits = model.lm_head(hidden)
        tensors[f"logits.{i}"] = logits[0].detach().float().contiguous()
        loss = loss + F.cross_entropy(logits[0, :-1], sequence[0, 1:], reduction="sum")
        if extra is not None:
            mtp = extra(model, hidden[:, :-1], sequence[:, 1:])[0]  # [T - 1, V]: the last token has no next one
            tensors[f"mtp_logits.{i}"] = mtp.detach().contiguous()
            check_against_transformers(model, extra, sequence, mtp)
            mtp_loss = mtp_loss + F.cross_entropy(mtp[:-1], sequence[0, 2:], reduction="sum")
    loss = loss / sum(length - 1 for length in lengths)
    mtp_loss = mtp_loss / sum(length - 2 for length in lengths)
    (loss + MTP_WEIGHT * mtp_loss).backward()

    gradients = {}
    for module, rename in ((model, lambda n, p: on_disk(n, p)), (extra, None)):
        if module is None:
            continue
        if rename:
            rows = [(n, g) for name_, p in module.named_parameters() for n, g in on_disk(name_, p.grad)]
        else:
            with_gradients = Next(config)
            with_gradients.load_state_dict({n: p.grad for n, p in module.named_parameters()}, strict=False)
            rows = [(n, g) for n, g in with_gradients.names(config.num_hidden_layers) if "correction_bias" not in n]
        gradients.update({n: float(g.detach().double().norm()) for n, g in rows})

    prompt = ids[1]
    sequence, closest = prompt, float("inf")
    with torch.no_grad():
        for _ in range(GREEDY):
            two = model(sequence).logits[0, -1].topk(2)
            closest = min(closest, float(two.values[0] - two.values[1]))
            sequence = torch.cat([sequence, two.indices[:1][None]], dim=1)

    routing = min(m.smallest for m in margins)
    if routing < ROUTING_MARGIN or closest < GREEDY_MARGIN:
        return None
    if (masked == 0.0) != any(m.disagreed for m in margins):
        return None

    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    (model.to(getattr(torch, dtype)) if dtype else model).save_pretrained(folder)
    if quantised is not None:
        save_file(quantised, folder / "model.safetensors", metadata={"format": "pt"})
        settings_of_blocks = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": fp8["block"], **({"scale_fmt": "ue8m0"} if fp8["ue8m0"] else {})}
        config_changes = {**(config_changes or {}), "quantization_config": settings_of_blocks}
    if config_changes:
        write_config(folder / "config.json", config_changes)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if extra is not None:
        state = load_file(folder / "model.safetensors")
        layer = config.num_hidden_layers
        state.update({n: p.detach().contiguous().clone() for n, p in extra.names(layer)})
        state[f"model.layers.{layer}.embed_tokens.weight"] = state["model.embed_tokens.weight"].clone()
        state[f"model.layers.{layer}.shared_head.head.weight"] = state["lm_head.weight"].clone()
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(tensors, folder / "expected.safetensors")
    expected = {
        "ids": [s[0].tolist() for s in ids],
        "loss": float(loss.detach()),
        "mtp_loss": float(mtp_loss.detach()) if extra is not None else None,
        "mtp_weight": MTP_WEIGHT,
        "gradient_norms": gradients,
        "greedy": sequence[0, prompt.shape[1]:].tolist(),
        "masked_group_score": 0 if masked == 0.0 else None,
        "seed": seed,
        "closest_routing_choice": None if routing == float("inf") else routing,
        "closest_greedy_choice": closest,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return expected


def write_rope():
    """rope.json: rotary frequencies, factors on cos and sin, and softmax scales of published settings, in all their spellings."""
    v3_scaling = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096}
    settings = {
        "llama-2, no rope keys": ("llama", {}, dict(hidden_size=256, num_attention_heads=2)),
        "llama-3.1, rope_scaling": ("llama", {"rope_theta": 500000.0, "rope_scaling": dict(llama3, original_max_position_embeddings=8192)}, dict(hidden_size=256, num_attention_heads=2, max_position_embeddings=131072)),
        "llama-3.2, rope_parameters": ("llama", {"rope_parameters": dict(llama3, factor=32.0, original_max_position_embeddings=8192, rope_theta=500000.0)}, dict(hidden_size=128, num_attention_heads=2, max_position_embeddings=131072)),
        "yarn without mscale": ("llama", {"rope_theta": 1000000.0, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}, dict(hidden_size=256, num_attention_heads=2, max_position_embeddings=131072)),
        "yarn, not truncated, own attention_factor": ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 4096, "truncate": False, "attention_factor": 1.25}}, dict(hidden_size=128, num_attention_heads=2, max_position_embeddings=131072)),
        "deepseek-v3": ("deepseek_v3", {"rope_theta": 10000, "rope_scaling": v3_scaling}, dict(qk_rope_head_dim=64, qk_nope_head_dim=128, max_position_embeddings=163840)),
        "deepseek, mscale 0.707 and 1": ("deepseek_v3", {"rope_theta": 10000, "rope_scaling": dict(v3_scaling, mscale=0.707)}, dict(qk_rope_head_dim=64, qk_nope_head_dim=128, max_position_embeddings=163840)),
        "llama, linear": ("llama", {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}, dict(hidden_size=128, num_attention_heads=2, max_position_embeddings=8192)),
        "qwen2.5, yarn as its card says": ("qwen2", {"rope_theta": 1000000.0, "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}}, dict(hidden_size=256, num_attention_heads=2, max_position_embeddings=32768)),
        "qwen3, yarn as its card says": ("qwen3", {"rope_theta": 1000000, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}, dict(hidden_size=256, num_attention_heads=2, head_dim=128, max_position_embeddings=32768)),
        "deepseek-v2-lite": ("deepseek_v2", {"rope_theta": 10000, "rope_scaling": dict(v3_scaling, mscale=0.707, mscale_all_dim=0.707)}, dict(hidden_size=256, num_attention_heads=2, qk_rope_head_dim=64, qk_nope_head_dim=128, max_position_embeddings=163840)),
        "deepseek, ramp without width": ("deepseek_v3", {"rope_theta": 10000, "rope_scaling": dict(v3_scaling, beta_fast=652, beta_slow=652)}, dict(qk_rope_head_dim=8, qk_nope_head_dim=8, max_position_embeddings=163840)),
    }
    rows = []
    for name, (family, rope, sizes) in settings.items():
        config = FAMILIES[family][0](**sizes, **json.loads(json.dumps(rope)))
        kind = config.rope_parameters["rope_type"]
        compute = v3.DeepseekV3RotaryEmbedding.compute_default_rope_parameters if kind == "default" else ROPE_INIT_FUNCTIONS[kind]
        frequencies, factor = compute(config, torch.device("cpu"))
        softmax = v3.yarn_apply_mscale(config.rope_parameters, 1.0) if family.startswith("deepseek") else 1.0
        rows.append({"name": name, "config": {"max_position_embeddings": config.max_position_embeddings, **rope}, "dims": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads, "frequencies": frequencies.tolist(), "attention_factor": factor, "softmax_factor": softmax})
    (OUT / "rope.json").write_text(json.dumps(rows, indent=1) + "\n")


def main():
    torch.set_num_threads(1)
    write_rope()
    wanted = sys.argv[1:] or FIXTURES
    for name in wanted:
        family, settings, *options = FIXTURES[name]
        options = dict(options[0]) if options else {}
        first, changes = options.pop("seed", 1), options.pop("config", None)
        for seed in range(first, first + 200):
            made = attempt(name, family, dict(settings), seed, config_changes=changes, **options)
            if made:
                size = sum(f.stat().st_size for f in (OUT / name).iterdir())
                print(f"{name}: seed {seed}, loss {made['loss']:.4f}, routing margin {made['closest_routing_choice']}, greedy margin {made['closest_greedy_choice']:.4f}, {size} bytes")
                break
        else:
            raise SystemExit(f"{name}: no seed without ties")


if __name__ == "__main__":
    main()
