"""Makes test/fixtures/blocks: what the `gguf` package makes of ggml's block types, and GGUF files that it wrote.

    python tools/reference/make_block_fixtures.py                       (gguf 0.19.0, numpy 2.4)
    python tools/reference/make_block_fixtures.py --ggml libggml-base.so  (and the codes of the K types, from llama.cpp's library)

decode.safetensors    per type NAME: `NAME.bytes` (U8 [blocks, block bytes]) and `NAME.values` (F32 [blocks, weights]) by gguf.quants.dequantize.
                      Blocks: random codes and scales; extreme, zero, minus zero, denormal, NaN and infinite scales.
encode.safetensors    `values` (F32 [rows, 256]) and `NAME.bytes`: by gguf.quants.quantize for the types it can write, else by ggml's
                      quantize_row_NAME_ref through ctypes (kept from the file that is there when no --ggml is given).
values.gguf           every metadata type, arrays of each, unusual keys; tensors of every type and rank 1 to 4.
split-*-of-*.gguf     a model in three files.
"""

import argparse
import ctypes
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value
from safetensors.numpy import load_file, save_file

OUT = pathlib.Path(__file__).parents[2] / "test/fixtures/blocks"
TYPES = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
K_TYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# Where the half-precision numbers of a block lie (mxfp4 has one exponent byte instead).
HALVES = {
    **dict.fromkeys(["Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "IQ4_XS"], [0]),
    **dict.fromkeys(["Q4_1", "Q5_1", "Q4_K", "Q5_K"], [0, 2]),
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q6_K": [208],
}
# 0, -0, smallest denormal, largest denormal, smallest normal, 1, -1, largest, infinities, NaNs.
SPECIAL = np.array([0, 0x8000, 1, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFE55], np.uint16)


def blocks_to_decode(name, rng):
    kind = Type[name]
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    if name == "F32":
        bits = np.array([0, 1 << 31, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001, 0x3F800000], np.uint32)
        return np.concatenate([bits, rng.standard_normal(7).astype(np.float32).view(np.uint32)]).view(np.uint8).reshape(-1, 4)
    if name in ("F16", "BF16"):
        return np.concatenate([SPECIAL, rng.integers(0, 65536, 242).astype(np.uint16)]).view(np.uint8).reshape(-1, 2)
    special = [0, 1, 2, 3, 126, 127, 128, 129, 253, 254, 255] if name == "MXFP4" else range(len(SPECIAL))
    blocks = rng.integers(0, 256, (8 + len(special), size)).astype(np.uint8)
    for i, block in enumerate(blocks):
        if name == "MXFP4":
            block[0] = special[i - 8] if i >= 8 else rng.integers(100, 140)
            continue
        for at in HALVES[name]:
            half = SPECIAL[i - 8] if i >= 8 else np.float16(rng.standard_normal() * 0.01).view(np.uint16)
            block[at : at + 2] = np.array([half], np.uint16).view(np.uint8)
        # A NaN or infinity in one of two scales only.
        if i >= 8 and len(HALVES[name]) == 2 and i % 2:
            block[HALVES[name][i // 2 % 2]] = 0
            block[HALVES[name][i // 2 % 2] + 1] = 0x2C
    return blocks


def values_to_encode(rng):
    rows = [rng.standard_normal((8, 256)) * np.array([1, 0.02, 1e-3, 30, 1e-6, 1e4, 0.3, 0.1])[:, None]]
    rows.append(np.zeros((1, 256)))
    rows.append(np.full((1, 256), 0.7))
    rows.append(np.full((1, 256), -0.7))
    rows.append(rng.uniform(0.1, 1, (1, 256)))
    rows.append(rng.uniform(-1, -0.1, (1, 256)))
    rows.append(np.round(rng.standard_normal((2, 256)) * 4) / 4)
    # Halves of a step, where rounding rules differ.
    rows.append((np.arange(256) % 32 - 15.5)[None] / 15.5)
    rows.append((np.arange(256) % 16 - 8)[None] / 8)
    rows.append(np.where(np.arange(256) % 64 == 5, 1, 1e-4)[None] * rng.standard_normal((1, 256)))
    # Laplace and heavy tails, as trained weights have.
    rows.append(rng.laplace(size=(4, 256)) * 0.02)
    rows.append(rng.standard_t(3, (4, 256)) * 0.02)
    # Groups of very different size.
    rows.append(rng.standard_normal((2, 256)) * 10.0 ** (np.arange(256) // 32 - 6))
    rows.append(np.where(np.arange(256) < 128, 0, rng.standard_normal((1, 256))))
    return np.concatenate(rows).astype(np.float32)


def with_ggml(library, name, values):
    weights, size = gguf.GGML_QUANT_SIZES[Type[name]]
    out = np.zeros((values.shape[0], values.shape[1] // weights * size), np.uint8)
    row = getattr(library, f"quantize_row_{name.lower().replace('_k', '_K')}_ref")
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
    row(pointer(np.ascontiguousarray(values)), pointer(out), ctypes.c_int64(values.size))
    return out


def write_blocks(library):
    rng = np.random.default_rng(7)
    decoded = {}
    for name in TYPES:
        blocks = blocks_to_decode(name, rng)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(blocks, Type[name])
        decoded[f"{name.lower()}.bytes"] = blocks
        decoded[f"{name.lower()}.values"] = np.ascontiguousarray(values)
    save_file(decoded, OUT / "decode.safetensors")

    values = values_to_encode(rng)
    encoded = {"values": values}
    for name in "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1".split():
        encoded[f"{name.lower()}.bytes"] = np.ascontiguousarray(gguf.quants.quantize(values, Type[name])).view(np.uint8)
    target = OUT / "encode.safetensors"
    before = load_file(target) if target.exists() else {}
    for name in K_TYPES:
        key = f"{name.lower()}.bytes"
        if library:
            encoded[key] = with_ggml(library, name, values)
        elif key in before and np.array_equal(before["values"], values):
            encoded[key] = before[key]
    save_file(encoded, target)


def write_values():
    writer = gguf.GGUFWriter(OUT / "values.gguf", "test")
    writer.add_uint8("scalar.u8", 255)
    writer.add_int8("scalar.i8", -128)
    writer.add_uint16("scalar.u16", 65535)
    writer.add_int16("scalar.i16", -32768)
    writer.add_uint32("scalar.u32", 2**32 - 1)
    writer.add_int32("scalar.i32", -(2**31))
    writer.add_float32("scalar.f32", 0.1)
    writer.add_uint64("scalar.u64", 2**64 - 1)
    writer.add_uint64("scalar.u64.small", 2**53 - 1)
    writer.add_int64("scalar.i64", -(2**63))
    writer.add_float64("scalar.f64", 0.1)
    writer.add_float32("scalar.nan", float("nan"))
    writer.add_bool("scalar.true", True)
    writer.add_bool("scalar.false", False)
    writer.add_string("scalar.string", "Grüße, 世界 🌍\n\0end")
    writer.add_key_value("scalar.empty", "", Value.STRING)
    writer.add_string("__proto__", "a plain key")
    writer.add_array("array.string", ["", "a", "é", "世界", "🌍", "plain ascii of more than thirteen letters"])
    writer.add_array("array.bool", [True, False, True])
    for kind, low, high in [
        ("UINT8", 0, 255),
        ("INT8", -128, 127),
        ("UINT16", 0, 65535),
        ("INT16", -32768, 32767),
        ("UINT32", 0, 2**32 - 1),
        ("INT32", -(2**31), 2**31 - 1),
        ("UINT64", 0, 2**64 - 1),
        ("INT64", -(2**63), 2**63 - 1),
        ("FLOAT32", -1.5, 0.1),
        ("FLOAT64", -1.5, 0.1),
    ]:
        writer.add_key_value(f"array.{kind.lower()}", [low, high, 1], Value.ARRAY, sub_type=Value[kind])
    writer.add_key_value("array.nested", [[1, 2], [3], [4, 5, 6]], Value.ARRAY, sub_type=Value.ARRAY)
    rng = np.random.default_rng(8)
    for name in TYPES:
        _, size = gguf.GGML_QUANT_SIZES[Type[name]]
        shape = (2, 256)
        if name in ("F32", "F16"):
            writer.add_tensor(f"t.{name.lower()}", rng.standard_normal(shape).astype(np.float16 if name == "F16" else np.float32))
            continue
        weights, _ = gguf.GGML_QUANT_SIZES[Type[name]]
        if name in ("BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
            data = gguf.quants.quantize(rng.standard_normal(shape).astype(np.float32), Type[name])
        else:
            data = blocks_to_decode(name, rng)[: 2 * 256 // weights].reshape(2, -1)
        writer.add_tensor(f"t.{name.lower()}", np.ascontiguousarray(data).view(np.uint8), raw_dtype=Type[name])
    for rank in (1, 3, 4):
        shape = (2, 3, 5, 7)[4 - rank :]
        writer.add_tensor(f"rank.{rank}", np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    write_file(writer)


def write_split():
    writer = gguf.GGUFWriter(OUT / "split.gguf", "test", split_max_tensors=2)
    writer.add_string("general.name", "three parts")
    for i in range(5):
        writer.add_tensor(f"tensor.{i}", np.full((2, 3), i, np.float32))
    write_file(writer)


def write_file(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ggml", help="path of llama.cpp's libggml-base")
    path = parser.parse_args().ggml
    OUT.mkdir(parents=True, exist_ok=True)
    write_blocks(ctypes.CDLL(path) if path else None)
    write_values()
    write_split()
