import { describe, expect, test } from "vitest";
import { extendThinking, isEarly, noteEmitted, startBudget, takeForced } from "../../src/engine/budget.ts";
import { checkRequest, type ThinkingBudget } from "../../src/engine/request.ts";

/** Ids 90.. are special: 90 91 the end of thinking, 95 the cue, 96 97 "Wait", 99 stop. */
const stop = new Set([99]);

/** Runs the machine over what a model would draw. Forced ids come out negative. */
function run(budget: ThinkingBudget, drawn: readonly number[], total = 20): { emitted: number[]; redrawn: number; thinking: number } {
  const checked = checkRequest({ ids: [1], maxTokens: 1, stop: [...stop], budget }, { vocabSize: 100, contextLength: 10 }).budget;
  if (!checked) throw new Error("no budget");
  const state = startBudget(checked);
  const emitted: number[] = [];
  let redrawn = 0;
  let next = 0;
  const emit = (id: number, isForced: boolean) => {
    noteEmitted(state, id);
    emitted.push(isForced ? -id : id);
  };
  while (emitted.length < total && next < drawn.length) {
    const forced = takeForced(state);
    if (forced !== undefined) {
      emit(forced, true);
      continue;
    }
    const id = drawn[next++] as number;
    if (isEarly(state, id, stop)) {
      if (extendThinking(state)) emit(takeForced(state) as number, true);
      else redrawn++;
    } else if (stop.has(id)) break;
    else emit(id, false);
  }
  return { emitted, redrawn, thinking: state.count };
}

describe("cap", () => {
  test("after max ids the end and the cue are forced", () => {
    expect(run({ end: [90, 91], max: 3, cue: [95] }, [1, 2, 3, 4, 5, 6])).toEqual({
      emitted: [1, 2, 3, -90, -91, -95, 4, 5, 6],
      redrawn: 0,
      thinking: 3,
    });
  });

  test("an end of the model's own, in time, is left alone and gets no cue", () => {
    expect(run({ end: [90, 91], max: 3, cue: [95] }, [1, 90, 91, 4, 5, 6, 7]).emitted).toEqual([1, 90, 91, 4, 5, 6, 7]);
  });

  test("max 0 thinks not at all", () => {
    expect(run({ end: [90], max: 0 }, [1, 2]).emitted).toEqual([-90, 1, 2]);
  });

  test("a begun end is completed, not begun again", () => {
    expect(run({ end: [90, 91], max: 2, cue: [95] }, [1, 90, 7, 8]).emitted).toEqual([1, 90, -91, -95, 7, 8]);
  });

  test("a false beginning of the end counts as thinking", () => {
    expect(run({ end: [90, 91], max: 4 }, [90, 1, 90, 90, 2])).toEqual({ emitted: [90, 1, 90, 90, -91, 2], redrawn: 0, thinking: 3 });
  });

  test("overlapping beginnings are found", () => {
    expect(run({ end: [90, 90, 91], max: 9 }, [90, 90, 90, 91, 5])).toEqual({ emitted: [90, 90, 90, 91, 5], redrawn: 0, thinking: 1 });
  });

  test("after thinking nothing is forced or dropped any more", () => {
    expect(run({ end: [90], max: 2, extend: { times: 1, ids: [96] } }, [90, 1, 90, 2, 90, 3]).emitted).toEqual([-96, 1, -90, 90, 2, 90, 3]);
  });
});

describe("extension", () => {
  test("each of the first n ends is dropped and the extension put in its place", () => {
    expect(run({ end: [90, 91], extend: { times: 2, ids: [96, 97] } }, [1, 90, 2, 90, 3, 90, 91, 4])).toEqual({
      emitted: [1, -96, -97, 2, -96, -97, 3, 90, 91, 4],
      redrawn: 0,
      thinking: 7,
    });
  });

  test("a stop id while thinking is an end too", () => {
    expect(run({ end: [90], extend: { times: 1, ids: [96] } }, [1, 99, 2, 99, 3]).emitted).toEqual([1, -96, 2]);
  });

  test("without ids the end is dropped and another id drawn", () => {
    expect(run({ end: [90], extend: { times: 2, ids: [] } }, [1, 90, 90, 2, 90, 3])).toEqual({
      emitted: [1, 2, 90, 3],
      redrawn: 2,
      thinking: 2,
    });
  });

  test("the cap cuts an extension short", () => {
    expect(run({ end: [90], max: 3, extend: { times: 5, ids: [96, 97] } }, [1, 2, 90, 3, 4]).emitted).toEqual([1, 2, -96, -90, 3, 4]);
  });
});

describe("minimum", () => {
  test("ends before it are drawn again; from it on they stand", () => {
    expect(run({ end: [90], min: 3 }, [90, 1, 99, 2, 90, 3, 90, 4])).toEqual({ emitted: [1, 2, 3, 90, 4], redrawn: 3, thinking: 3 });
  });

  test("with an extension it is put in, as often as needed, and `times` is used up first", () => {
    expect(run({ end: [90], min: 3, extend: { times: 1, ids: [96] } }, [90, 90, 90, 90, 1]).emitted).toEqual([-96, -96, -96, 90, 1]);
  });
});
