// Standard input as text: strict UTF-8, with a limit.

import { FormatError, RequestError } from "../core/errors.ts";

const limit = 100_000_000;

/** Everything that standard input holds. Throws FormatError when it is not UTF-8, RequestError above 100 MB. */
export async function readInput(operation: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Uint8Array);
    size += (chunk as Uint8Array).length;
    if (size > limit) {
      throw new RequestError({
        operation: `${operation}: standard input`,
        got: `more than ${limit} bytes`,
        expected: "less",
        cure: "cut the text into parts",
      });
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    const complaint = {
      operation: `${operation}: standard input`,
      got: "bytes that are not UTF-8",
      expected: "UTF-8 text",
      cure: "convert it to UTF-8",
    };
    throw new FormatError(complaint, { cause });
  }
}
