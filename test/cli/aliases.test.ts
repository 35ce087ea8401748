import { expect, test } from "vitest";
import { withoutAliases } from "../../src/cli/aliases.ts";

test("flags of other programs become ours; --think never takes the word after it; nothing changes behind --", () => {
  expect(withoutAliases(["run", "m", "--temp", "1", "--reasoning-budget=5", "--think", "why?", "--think=false"])).toEqual([
    ...["run", "m", "--temperature", "1", "--thinking-budget=5", "--think=true", "why?", "--think=false"],
  ]);
  expect(withoutAliases(["bench", "m", "-ctk", "f16", "--cache-type-v=f16"])).toEqual([
    "bench",
    "m",
    "--cache-type",
    "f16",
    "--cache-type=f16",
  ]);
  expect(withoutAliases(["--temperature", "2", "--", "--temp", "--think"])).toEqual(["--temperature", "2", "--", "--temp", "--think"]);
});
