// X06, X07: what the workflows may do. Actions by the hash of a commit, never by a name that others can move; reading alone, but for the one right that provenance needs;
// no trigger that runs strangers' changes with rights, no text of strangers in a shell, no stored token.

import { readdirSync, readFileSync } from "node:fs";
import * as path from "node:path";
import { describe, expect, test } from "vitest";

const folder = path.join(import.meta.dirname, "../.github/workflows");
const names = readdirSync(folder);
const textOf = (name: string) => readFileSync(path.join(folder, name), "utf8");

/** What is wrong with a workflow, line by line. */
function complaints(name: string, text: string): string[] {
  const found: string[] = [];
  const lines = text.split("\n").filter((line) => !/^\s*#/.test(line));
  for (const line of lines) {
    const used = /^\s*(?:- )?uses:\s*(.*)$/.exec(line)?.[1];
    if (used !== undefined && !/^[\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(used)) found.push(`not pinned: ${used}`);
    const right = /^\s*(?!persist-)([\w-]+):\s*write(?:-all)?\b/.exec(line)?.[1];
    if (right !== undefined && !(name === "release.yml" && right === "id-token")) found.push(`a right to write: ${right}`);
    if (/pull_request_target|workflow_run|issue_comment/.test(line)) found.push(`a trigger of strangers: ${line.trim()}`);
    if (/\$\{\{/.test(line)) found.push(`an expression, which may hold a stranger's text: ${line.trim()}`);
    if (/secrets\.|NODE_AUTH_TOKEN|NPM_TOKEN/.test(line)) found.push(`a stored token: ${line.trim()}`);
    if (/\bnpm (?:i|install)\b/.test(line)) found.push(`an installation that is not the lock file's: ${line.trim()}`);
  }
  if (!/^permissions:\n {2}contents: read\n(?! )/m.test(lines.join("\n"))) found.push("rights that are not `contents: read` for the whole");
  const checkouts = lines.filter((line) => line.includes("actions/checkout@")).length;
  if (checkouts !== lines.filter((line) => /persist-credentials: false/.test(line)).length)
    found.push("a checkout that leaves its token behind");
  return found;
}

describe("workflows", () => {
  test.each(names)("%s keeps the rules", (name) => expect(complaints(name, textOf(name))).toEqual([]));

  test("the release has provenance, a list of parts, a checksum and two builds of the same bytes", () => {
    const release = textOf("release.yml");
    for (const needed of ["id-token: write", "--provenance", "npm sbom", "cyclonedx", "sha256sum", "cmp "])
      expect(release).toContain(needed);
  });

  test.each([
    ["uses: actions/checkout@v4", "not pinned"],
    ["      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683", "not pinned"],
    ["  pull_request_target:", "a trigger"],
    ["      contents: write", "a right to write"],
    ["permissions: write-all", "a right to write"],
    [`      - run: echo $${"{{ github.event.issue.title }}"}`, "an expression"],
    ["      - run: npm install", "an installation"],
  ])("%s would be found", (line, said) => {
    const found = complaints("check.yml", `${textOf("check.yml")}${line}\n`);
    expect(found.some((one) => one.startsWith(said))).toBe(true);
  });
});
