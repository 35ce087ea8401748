import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { killAgainAndAgain } from "./kill.ts";

test("five kills at random moments: every checkpoint verifies, and the resumed run is the unbroken one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "gradually-kill-"));
  const report = await killAgainAndAgain({ kills: 5, device: "reference", seed: 11, folder });
  rmSync(folder, { recursive: true, force: true });
  expect(report).toMatchObject({ kills: 5, damaged: [], different: [], steps: 84 });
  expect(report.runs).toBeGreaterThan(0);
}, 120_000);
