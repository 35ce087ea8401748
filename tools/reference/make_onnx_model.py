"""Writes a Llama of a GGUF file as the ONNX folder that transformers.js runs, so that both run the same model.

Run: python tools/reference/make_onnx_model.py MODEL.gguf FOLDER [--dtype q4] [--check]     (onnx 1.23, gguf 0.19; a minute for 1.1 B weights)

--dtype  q4    MatMulNBits: blocks of 32 along the inputs, a scale each, no zero points, products in 8 bits (accuracy level 4, the fastest on a CPU).
               A q4_0 tensor becomes this without loss; others are rounded again.
         q8    dynamic int8 as onnxruntime's quantize_dynamic writes it: DynamicQuantizeLinear, MatMulInteger, one scale a tensor; embeddings too.
         fp32  plain products.
--check  afterwards runs a prompt and a continuation from the cache in onnxruntime (1.32) and in transformers (5.18, with accelerate), and compares the logits.

FOLDER gets config.json, generation_config.json and onnx/model[_q4|_quantized].onnx with its weights in a file beside it (a protocol buffer ends
at 2 GB). The graph is the one that the published models have: GroupQueryAttention with rotary positions inside, (Skip)SimplifiedLayerNormalization,
caches [batch, key heads, tokens, head size] as inputs and outputs, logits of the last `num_logits_to_keep` positions alone.
"""

import argparse
import json
import pathlib
import sys

import gguf
import numpy as np
import onnx
from gguf import GGMLQuantizationType as Type
from onnx import TensorProto, helper

FILES = {"q4": "model_q4.onnx", "q8": "model_quantized.onnx", "fp32": "model.onnx"}
KINDS = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
BLOCK = 32
PAGE = 4096  # onnxruntime maps weights that begin at a page


class Source:
    """The GGUF file: its shape as a config of transformers, and its tensors."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        field = lambda name: reader.fields[f"llama.{name}"].contents()
        if reader.fields["general.architecture"].contents() != "llama":
            raise SystemExit(f"{path}: the graph is a Llama's; this file is another family")
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": int(self.tensors["token_embd.weight"].shape[1]),
            "hidden_size": field("embedding_length"),
            "intermediate_size": field("feed_forward_length"),
            "num_hidden_layers": field("block_count"),
            "num_attention_heads": field("attention.head_count"),
            "num_key_value_heads": field("attention.head_count_kv"),
            "head_dim": field("embedding_length") // field("attention.head_count"),
            "max_position_embeddings": field("context_length"),
            "rms_norm_eps": field("attention.layer_norm_rms_epsilon"),
            "rope_theta": field("rope.freq_base"),
            "hidden_act": "silu",
            "tie_word_embeddings": "output.weight" not in self.tensors,
            # No end: random weights are to generate as many tokens as they are asked for.
            "bos_token_id": 1,
            "eos_token_id": None,
            "transformers.js_config": {"use_external_data_format": True},
        }

    def rows(self, name, heads=0):
        """Rows as they lie in the file. Queries and keys (`heads` > 0) back from llama.cpp's order, in which the two numbers that turn together are neighbours."""
        data = self.tensors[name].data
        if heads == 0:
            return data
        return data.reshape(heads, -1, 2, data.shape[-1]).swapaxes(1, 2).reshape(data.shape)

    def floats(self, name, heads=0):
        return gguf.quants.dequantize(self.rows(name, heads), self.tensors[name].tensor_type).astype(np.float32)


class Graph:
    def __init__(self, data_path):
        self.nodes, self.initializers = [], []
        self.data_path = data_path
        self.data = open(data_path, "wb")

    def add(self, kind, inputs, outputs=1, domain="", **attributes):
        """Outputs: their number, or their names."""
        names = outputs if isinstance(outputs, list) else [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, name=f"{kind}_{len(self.nodes)}", **attributes))
        return names[0] if len(names) == 1 else names

    def weight(self, name, values):
        """Straight to the file beside: gigabytes never lie in one protocol buffer."""
        values = np.ascontiguousarray(values)
        tensor = TensorProto(name=name, data_type=KINDS[values.dtype.name], dims=values.shape, data_location=TensorProto.EXTERNAL)
        self.data.write(b"\0" * (-self.data.tell() % PAGE))
        for key, value in {"location": self.data_path.name, "offset": self.data.tell(), "length": values.nbytes}.items():
            tensor.external_data.add(key=key, value=str(value))
        self.data.write(values.data)
        self.initializers.append(tensor)
        return name

    def constant(self, name, values):
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name


def quantize_blocks(weights):
    """Symmetric: the number of largest magnitude becomes -8, as in q4_0. [N, K] to nibbles [N, K / 32, 16] and scales [N, K / 32]."""
    blocks = weights.reshape(len(weights), -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scales = largest / -8
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    codes = np.clip(np.rint(blocks * inverse) + 8, 0, 15).astype(np.uint8)
    return codes[..., 0::2] | codes[..., 1::2] << 4, scales[..., 0]


def q4_0_blocks(rows):
    """The same from q4_0 as it lies: a half-precision scale, then 16 bytes whose low nibbles are the first half of the block."""
    blocks = rows.reshape(len(rows), -1, 2 + BLOCK // 2)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    codes = np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], -1)
    return codes[..., 0::2] | codes[..., 1::2] << 4, scales


class Products:
    """Products with the weights of one dtype. An input that several products share is rounded once."""

    def __init__(self, graph, source, dtype):
        self.graph, self.source, self.dtype = graph, source, dtype
        self.rounded = {}

    def __call__(self, x, name, heads=0):
        return getattr(self, self.dtype)(x, name, heads)

    def fp32(self, x, name, heads):
        return self.graph.add("MatMul", [x, self.graph.weight(name, self.source.floats(name, heads).T)])

    def q4(self, x, name, heads):
        if self.source.tensors[name].tensor_type == Type.Q4_0:
            codes, scales = q4_0_blocks(self.source.rows(name, heads))
        else:
            codes, scales = quantize_blocks(self.source.floats(name, heads))
        inputs = [x, self.graph.weight(f"{name}_Q4", codes), self.graph.weight(f"{name}_scales", scales.reshape(-1))]
        sizes = {"K": codes.shape[1] * BLOCK, "N": len(codes)}
        return self.graph.add("MatMulNBits", inputs, domain="com.microsoft", bits=4, block_size=BLOCK, accuracy_level=4, **sizes)

    def q8(self, x, name, heads):
        graph = self.graph
        codes, scale, zero = self.int8(name, heads)
        if x not in self.rounded:
            self.rounded[x] = graph.add("DynamicQuantizeLinear", [x], 3)
        x_codes, x_scale, x_zero = self.rounded[x]
        sums = graph.add("MatMulInteger", [x_codes, graph.weight(f"{name}_quantized", codes.T), x_zero, zero])
        both = graph.add("Mul", [x_scale, scale])
        return graph.add("Mul", [graph.add("Cast", [sums], to=TensorProto.FLOAT), both])

    def int8(self, name, heads=0):
        weights = self.source.floats(name, heads)
        scale = np.float32(max(np.abs(weights).max(), 1e-30) / 127)
        codes = np.rint(weights / scale).astype(np.int8)
        return codes, self.graph.constant(f"{name}_scale", scale), self.graph.constant(f"{name}_zero_point", np.int8(0))

    def embeddings(self, ids):
        graph, name = self.graph, "token_embd.weight"
        if self.dtype != "q8":
            return graph.add("Gather", [graph.weight(name, self.source.floats(name)), ids])
        codes, scale, zero = self.int8(name)
        rows = graph.add("Gather", [graph.weight(f"{name}_embeddings", codes), ids])
        return graph.add("DequantizeLinear", [rows, scale, zero])


def build(source, dtype, path):
    config = source.config
    heads, key_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    layers, epsilon = config["num_hidden_layers"], float(config["rms_norm_eps"])
    graph = Graph(path.with_name(path.name + "_data"))
    product = Products(graph, source, dtype)

    angles = np.outer(np.arange(config["max_position_embeddings"]), config["rope_theta"] ** (-np.arange(0, size, 2) / size))
    cos, sin = graph.weight("cos_cache", np.cos(angles).astype(np.float32)), graph.weight("sin_cache", np.sin(angles).astype(np.float32))
    one = graph.constant("one", np.array([1], np.int64))
    total = graph.add("Cast", [graph.add("Gather", [graph.add("Shape", ["attention_mask"]), graph.constant("second", np.array(1, np.int64))])], to=TensorProto.INT32)
    seen = graph.add("ReduceSum", ["attention_mask", one], keepdims=0)
    last = graph.add("Cast", [graph.add("Sub", [seen, one])], to=TensorProto.INT32)

    x = product.embeddings("input_ids")
    added = None  # what the next norm adds to x first
    norm = lambda name: graph.weight(name, source.floats(name))

    def add_and_norm(name):
        nonlocal x
        if added is None:
            return graph.add("SimplifiedLayerNormalization", [x, norm(name)], axis=-1, epsilon=epsilon, stash_type=1)
        names = [f"{name}_normed", "", "", f"{name}_sum"]
        graph.add("SkipSimplifiedLayerNormalization", [x, added, norm(name)], names, domain="com.microsoft", epsilon=epsilon)
        x = names[3]
        return names[0]

    for i in range(layers):
        h = add_and_norm(f"blk.{i}.attn_norm.weight")
        q, k = product(h, f"blk.{i}.attn_q.weight", heads), product(h, f"blk.{i}.attn_k.weight", key_heads)
        v = product(h, f"blk.{i}.attn_v.weight")
        attended, *_ = graph.add(
            "GroupQueryAttention",
            [q, k, v, f"past_key_values.{i}.key", f"past_key_values.{i}.value", last, total, cos, sin],
            [f"attended.{i}", f"present.{i}.key", f"present.{i}.value"],
            domain="com.microsoft", num_heads=heads, kv_num_heads=key_heads, scale=size**-0.5, do_rotary=1, rotary_interleaved=0, local_window_size=-1,
        )
        added = product(attended, f"blk.{i}.attn_output.weight")
        h = add_and_norm(f"blk.{i}.ffn_norm.weight")
        gate = product(h, f"blk.{i}.ffn_gate.weight")
        gated = graph.add("Mul", [graph.add("Mul", [gate, graph.add("Sigmoid", [gate])]), product(h, f"blk.{i}.ffn_up.weight")])
        added = product(gated, f"blk.{i}.ffn_down.weight")
    h = add_and_norm("output_norm.weight")
    # The last n positions; n = 0 keeps all, for -0 is the beginning.
    start = graph.add("Reshape", [graph.add("Neg", ["num_logits_to_keep"]), one])
    kept = graph.add("Slice", [h, start, graph.constant("end", np.array([2**62], np.int64)), one])
    product(kept, "token_embd.weight" if config["tie_word_embeddings"] else "output.weight")
    graph.nodes[-1].output[0] = "logits"
    graph.data.close()

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    cache = lambda prefix, length: [
        value(f"{prefix}.{i}.{part}", TensorProto.FLOAT, ["batch_size", key_heads, length, size]) for i in range(layers) for part in ("key", "value")
    ]
    inputs = [
        value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        value("num_logits_to_keep", TensorProto.INT64, []),
        *cache("past_key_values", "past_sequence_length"),
    ]
    outputs = [value("logits", TensorProto.FLOAT, ["batch_size", "kept", config["vocab_size"]]), *cache("present", "total_sequence_length")]
    used = [tensor for tensor in graph.initializers if any(tensor.name in node.input for node in graph.nodes)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "llama", inputs, outputs, used),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )
    path.write_bytes(model.SerializeToString())


def check(source, path, gguf_path, dtype):
    """Exit 1 unless fp32 agrees within 1e-3 and the rounded kinds correlate with the file's own weights at 0.98."""
    import onnxruntime
    import torch
    from transformers import AutoModelForCausalLM

    gguf_path = pathlib.Path(gguf_path)
    reference = AutoModelForCausalLM.from_pretrained(gguf_path.parent, gguf_file=gguf_path.name, dtype=torch.float32, attn_implementation="eager").eval()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    config = source.config
    ids = np.random.default_rng(1).integers(3, config["vocab_size"], (2, 24))
    empty = np.zeros((2, config["num_key_value_heads"], 0, config["head_dim"]), np.float32)
    names = [name.name for name in session.get_inputs() if name.name.startswith("past_key_values.")]
    past = dict.fromkeys(names, empty)
    parts = []
    for begin, end in [(0, 20), *((i, i + 1) for i in range(20, 24))]:
        feed = {"input_ids": ids[:, begin:end], "attention_mask": np.ones((2, end), np.int64), "num_logits_to_keep": np.array(0, np.int64), **past}
        logits, *present = session.run(None, feed)
        past = dict(zip(names, present, strict=True))
        parts.append(logits)
    ours = np.concatenate(parts, 1)
    with torch.no_grad():
        theirs = reference(torch.tensor(ids)).logits.numpy()
    report = {
        "largest_difference": float(np.abs(ours - theirs).max()),
        "largest_logit": float(np.abs(theirs).max()),
        "correlation": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
    }
    print(json.dumps(report))
    good = report["largest_difference"] <= 1e-3 if dtype == "fp32" else report["correlation"] >= 0.98
    sys.exit(0 if good else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dtype", choices=FILES, default="q4")
    parser.add_argument("--check", action="store_true")
    flags = parser.parse_args()
    source = Source(flags.model)
    path = flags.folder / "onnx" / FILES[flags.dtype]
    path.parent.mkdir(parents=True, exist_ok=True)
    build(source, flags.dtype, path)
    (flags.folder / "config.json").write_text(json.dumps(source.config, indent=2) + "\n")
    (flags.folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1}) + "\n")
    print(f"{path}: {(path.stat().st_size + path.with_name(path.name + '_data').stat().st_size) / 1e6:.0f} MB")
    if flags.check:
        check(source, path, flags.model, flags.dtype)


if __name__ == "__main__":
    main()
