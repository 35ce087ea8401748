import { expect, test } from "vitest";
import { explainError, showControls } from "../../src/cli/output.ts";

test("text of a model cannot steer the terminal", () => {
  expect(showControls("a\u001b[2Jb\r\u0007\n\tc\u202e")).toBe("a\\u001b[2Jb\\u000d\\u0007\n\tc\\u202e");
});

test("errors that nobody foresaw are one line too", () => {
  const line = explainError("run", new TypeError("x is\nnot y"));
  expect(line).toBe("error: run: got an unexpected failure (x is not y); expected none; report it with what GRADUALLY_DEBUG=1 shows");
});
