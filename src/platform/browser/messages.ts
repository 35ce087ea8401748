// What the page and the engine's worker say to one another. The page numbers its calls; every reply bears the number of its call. "done" or "failed" is the
// last reply to a call. Errors travel as the name of their class and the four parts of their message.

import type { ChatOptions, Message, RespondOptions } from "../../chat/model.ts";
import type { Answer, Part } from "../../chat/response.ts";
import type { ThinkTags } from "../../chat/think-tags.ts";
import type { Complaint } from "../../core/errors.ts";
import { ConfigError, DeviceError, FormatError, GraduallyError, RequestError, ShapeError } from "../../core/errors.ts";
import type { LoadProgress, PlainLoadOptions } from "./options.ts";
import type { DescribedSource } from "./sources.ts";

export type Call =
  | { readonly kind: "load"; readonly source: DescribedSource; readonly options: PlainLoadOptions }
  | { readonly kind: "respond"; readonly input: string | readonly Message[]; readonly options: ChatOptions }
  | { readonly kind: "generate"; readonly text: string; readonly options: RespondOptions }
  | {
      readonly kind: "fetch";
      readonly url: string;
      readonly method: string;
      readonly headers: [string, string][];
      readonly body: ArrayBuffer;
    }
  | { readonly kind: "close" };

export type ToWorker = { readonly id: number } & (Call | { readonly kind: "cancel" });

/** What the page knows of a loaded model. */
export type ModelFacts = {
  /** Under which it is stored, or what its files are called. */
  readonly name: string;
  readonly isStored: boolean;
  readonly contextLength: number;
  readonly hasTemplate: boolean;
  readonly thinkTags?: ThinkTags;
  readonly build: string;
  readonly threads: number;
  /** Of the weights as they lie in the files. */
  readonly weightBytes: number;
};

export type ToPage = { readonly id: number } & (
  | { readonly kind: "progress"; readonly progress: LoadProgress }
  | { readonly kind: "warning"; readonly text: string }
  | { readonly kind: "part"; readonly part: Part }
  | { readonly kind: "head"; readonly status: number; readonly headers: [string, string][] }
  | { readonly kind: "chunk"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "done"; readonly facts?: ModelFacts; readonly answers?: readonly Answer[] }
  | { readonly kind: "failed"; readonly error: WireError }
);

export type WireError = { readonly name: string; readonly message: string; readonly complaint?: Complaint };

export function toWire(thrown: unknown): WireError {
  if (thrown instanceof GraduallyError) return { name: thrown.name, message: thrown.message, complaint: thrown.complaint };
  if (thrown instanceof Error) return { name: thrown.name, message: thrown.message };
  return { name: "Error", message: String(thrown) };
}

const classes = { ConfigError, DeviceError, FormatError, RequestError, ShapeError };

export function fromWire({ name, message, complaint }: WireError): Error {
  const known = complaint && classes[name as keyof typeof classes];
  if (known) return new known(complaint);
  if (name === "AbortError") return new DOMException(message, name);
  return new DeviceError({
    operation: "run the model's worker",
    got: `${name}: ${message}`,
    expected: "no failure",
    cure: "load the model again; report it if it comes back",
  });
}
