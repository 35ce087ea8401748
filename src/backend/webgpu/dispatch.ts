// dispatch: stable counting sort of slots (token·K + k) by expert, with the inverse permutation. Few slots: each counts those that come before it, in one go. Many: the
// slots of each expert are counted in blocks, the counts are summed over blocks and experts, and a slot counts what is before it in its block.

import type { Kernels, View } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

/** At most so many slots are compared each with each. */
const fewSlots = 512;
const blockSlots = 256;

type Arguments = Parameters<Kernels["dispatch"]>[0];

/** The expert of a slot, clamped to 0..E-1. */
const declarations = "fn expert_of(index: i32) -> i32 { return clamp(index, 0, i32(p.E) - 1); }";

export function dispatch(recorder: Recorder): Kernels["dispatch"] {
  return (args) => {
    const { slots, E } = args;
    if (slots <= fewSlots) return sortFew(recorder, args);
    recorder.withScratch(
      Math.ceil(slots / blockSlots) * E,
      (counts) => recorder.withScratch(E, (totals) => sortMany(recorder, args, counts, totals), "i32"),
      "i32",
    );
  };
}

function sortFew(recorder: Recorder, { offsets, sorted, place, indices, slots, E }: Arguments): void {
  recorder.run({
    kernel: "dispatch",
    variant: "few",
    operands: { offsets: write(offsets, "i32"), sorted: write(sorted, "i32"), place: write(place, "i32"), indices: read(indices, "i32") },
    integers: { slots, E },
    invocations: Math.max(slots, E + 1),
    work: Math.max(slots, E + 1) * slots,
    text: ({ offsets, sorted, place, indices }) => ({
      declarations,
      body: `
  let is_slot = i < p.slots;
  let as_expert = i32(i);
  var expert = 0;
  if (is_slot) { expert = expert_of(${indices("i")}); }
  var smaller_experts = 0;
  var before = 0;
  for (var slot = 0u; slot < p.slots; slot++) {
    let other = expert_of(${indices("slot")});
    if (other < as_expert) { smaller_experts++; }
    if (other < expert || (other == expert && slot < i)) { before++; }
  }
  if (i <= p.E) { ${offsets("i")} = smaller_experts; }
  if (is_slot) {
    ${place("i")} = before;
    ${sorted("u32(before)")} = i32(i);
  }`,
    }),
  });
}

function sortMany(recorder: Recorder, { offsets, sorted, place, indices, slots, E }: Arguments, counts: View, totals: View): void {
  const blocks = Math.ceil(slots / blockSlots);
  recorder.run({
    kernel: "dispatch",
    variant: "count",
    operands: { counts: write(counts, "i32"), indices: read(indices, "i32") },
    integers: { slots, E },
    invocations: blocks * E,
    work: slots * E,
    text: ({ counts, indices }) => ({
      declarations,
      body: `
  let first = i / p.E * ${blockSlots};
  let end = min(first + ${blockSlots}, p.slots);
  let expert = i32(i % p.E);
  var count = 0;
  for (var slot = first; slot < end; slot++) {
    if (expert_of(${indices("slot")}) == expert) { count++; }
  }
  ${counts("i")} = count;`,
    }),
  });
  recorder.run({
    kernel: "dispatch",
    variant: "sum blocks",
    operands: { counts: write(counts, "i32"), totals: write(totals, "i32") },
    integers: { E, blocks },
    invocations: E,
    work: E * blocks,
    text: ({ counts, totals }) => `
  var total = 0;
  for (var b = 0u; b < p.blocks; b++) {
    let count = ${counts("b * p.E + i")};
    ${counts("b * p.E + i")} = total;
    total += count;
  }
  ${totals("i")} = total;`,
  });
  recorder.run({
    kernel: "dispatch",
    variant: "sum experts",
    operands: { offsets: write(offsets, "i32"), totals: read(totals, "i32") },
    invocations: E + 1,
    work: E * E,
    text: ({ offsets, totals }) => `
  var begin = 0;
  for (var e = 0u; e < i; e++) { begin += ${totals("e")}; }
  ${offsets("i")} = begin;`,
  });
  recorder.run({
    kernel: "dispatch",
    variant: "place",
    operands: {
      sorted: write(sorted, "i32"),
      place: write(place, "i32"),
      offsets: read(offsets, "i32"),
      counts: read(counts, "i32"),
      indices: read(indices, "i32"),
    },
    integers: { E },
    invocations: slots,
    work: slots * blockSlots,
    text: ({ sorted, place, offsets, counts, indices }) => ({
      declarations,
      body: `
  let expert = expert_of(${indices("i")});
  let in_block = i / ${blockSlots};
  var at = ${offsets("u32(expert)")} + ${counts("in_block * p.E + u32(expert)")};
  for (var slot = in_block * ${blockSlots}; slot < i; slot++) {
    if (expert_of(${indices("slot")}) == expert) { at++; }
  }
  ${place("i")} = at;
  ${sorted("u32(at)")} = i32(i);`,
    }),
  });
}
