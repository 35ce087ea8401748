// The clock that is read once for all that happens in one go.

import { expect, test } from "vitest";
import { oncePerTurn } from "../../src/server/clock.ts";

test("one reading for what runs in one go, another after the next await", async () => {
  let readings = 0;
  const now = oncePerTurn(() => ++readings);
  expect([now(), now(), now()]).toEqual([1, 1, 1]);
  await Promise.resolve();
  expect([now(), now()]).toEqual([2, 2]);
  await new Promise((next) => setTimeout(next, 0));
  expect(now()).toBe(3);
});
