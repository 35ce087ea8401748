import { describe, expect, test } from "vitest";
import { checkRequest } from "../../src/engine/request.ts";
import { admit, leave, type Slot, schedule } from "../../src/engine/scheduler.ts";
import { type Sequence, startSequence, type Timeline } from "../../src/engine/sequence.ts";

let number = 0;
function sequence(ids: readonly number[], more: Partial<Sequence> = {}, timeline?: Timeline): Sequence {
  const request = checkRequest({ ids, maxTokens: 5 }, { vocabSize: 100, contextLength: 50 });
  return Object.assign(startSequence(++number, request, 0, timeline), more);
}

function emptySlots(count: number): Slot[] {
  return Array.from({ length: count }, () => ({ sequence: undefined, timeline: undefined }));
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

describe("schedule", () => {
  test("lays out ids, positions, key ranges, cache rows and output rows of decoders and of chunks", () => {
    const decoder = sequence([5, 6, 7], { slot: 2, cached: 2 });
    const whole = sequence([8, 9], { slot: 0 });
    const part = sequence([1, 2, 3, 4], { slot: 1, cached: 1 });
    const packed = new Int32Array(64);
    const plan = schedule([decoder, whole, part], 4, 10, packed);
    expect(plan.rows).toBe(5);
    expect(plan.choosing).toEqual([decoder, whole]);
    expect([decoder.feed, whole.feed, part.feed]).toEqual([1, 2, 2]);
    const parts = range(5).map((i) => [...packed.subarray(i * 5, i * 5 + 5)]);
    expect(parts).toEqual([
      [7, 8, 9, 2, 3],
      [2, 0, 1, 1, 2],
      [20, 0, 0, 10, 10],
      [22, 0, 1, 11, 12],
      [22, 0, 1, 11, 12],
    ]);
    expect([...packed.subarray(25, 27)]).toEqual([0, 2]);
  });

  test("prefill beyond the step's share waits; decoders never do", () => {
    const running = [sequence(range(10), { slot: 0 }), sequence(range(10), { slot: 1 }), sequence([3], { slot: 2 })];
    const plan = schedule(running, 10, 20, new Int32Array(200));
    expect(running.map(({ feed }) => feed)).toEqual([10, 0, 1]);
    expect(plan.rows).toBe(11);
    expect(plan.choosing).toEqual([running[0], running[2]]);
  });

  test("when nobody chooses row 0 stands in", () => {
    const packed = new Int32Array(64).fill(77);
    expect(schedule([sequence(range(10), { slot: 0 })], 3, 20, packed)).toEqual({ rows: 3, choosing: [] });
    expect(packed[15]).toBe(0);
  });
});

describe("admit", () => {
  test("first come, first served, into the lowest slots", () => {
    const line = [sequence([1]), sequence([2]), sequence([3])];
    const waiting = new Set(line);
    const slots = emptySlots(2);
    expect(admit(waiting, slots)).toEqual([line[0], line[1]]);
    expect(line.map(({ slot }) => slot)).toEqual([0, 1, -1]);
    leave(slots, line[0] as Sequence, 1);
    expect(admit(waiting, slots)).toEqual([line[2]]);
    expect(line[2]?.slot).toBe(0);
    expect(waiting.size).toBe(0);
  });

  test("a session's slot keeps its ids until it is the last resort, the one left longest ago first", () => {
    const slots = emptySlots(2);
    const timelines: Timeline[] = range(2).map(() => ({ slot: -1, ids: [], lastUse: 0, isBusy: false }));
    const enter = (next: Sequence) => admit(new Set([next]), slots);
    for (const [i, timeline] of timelines.entries()) {
      const first = sequence([1, 2, 3], {}, timeline);
      enter(first);
      first.cached = 3;
      leave(slots, first, 10 - i);
      expect(timeline).toEqual({ slot: i, ids: [1, 2, 3], lastUse: 10 - i, isBusy: false });
    }
    const stranger = sequence([9]);
    enter(stranger);
    expect(stranger.slot).toBe(1);
    expect(timelines[1]).toMatchObject({ slot: -1, ids: [] });
    const again = sequence([1, 2, 7, 8], {}, timelines[0]);
    enter(again);
    expect(again).toMatchObject({ slot: 0, cached: 2, reused: 2 });
  });

  test("the last prompt id is always computed, for its logits", () => {
    const slots = emptySlots(1);
    const timeline: Timeline = { slot: 0, ids: [1, 2, 3, 4], lastUse: 0, isBusy: false };
    (slots[0] as Slot).timeline = timeline;
    const again = sequence([1, 2, 3], {}, timeline);
    admit(new Set([again]), slots);
    expect(again.cached).toBe(2);
  });
});
