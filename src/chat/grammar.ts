// Structured output: what an answer must look like, and who makes constraints of it. The compiler of grammars is large and foreign, so it lives
// behind this interface and is opened only when the first request wants it.

import { RequestError } from "../core/errors.ts";
import type { TokenConstraint } from "../engine/constraint.ts";

/** One of: any JSON value that is an object, JSON of a schema, a text that a regular expression matches whole, one of several texts, an EBNF grammar. */
export type Structure =
  | { readonly json: true }
  | { readonly schema: unknown }
  | { readonly regex: string }
  | { readonly choice: readonly string[] }
  | { readonly grammar: string };

export interface GrammarEngine {
  /** A constraint for one sequence. Throws RequestError for what cannot be compiled, is too large, or takes too long. */
  constrain(structure: Structure): Promise<GrammarConstraint>;
  close(): Promise<void>;
}

export interface GrammarConstraint extends TokenConstraint {
  /** Gives its memory back. */
  dispose(): void;
}

export function noGrammars(): never {
  throw new RequestError({
    operation: "generate: structure",
    got: "a structure",
    expected: "none: this host cannot compile grammars",
    cure: "leave it out",
  });
}
