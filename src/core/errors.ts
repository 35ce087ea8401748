// The five errors of the system. Every message names four things: the operation, what came, what was
// expected, and the cure. Anything else that reaches a user is a bug.

export type Complaint = {
  /** What was being done, e.g. "matmul" or "load model.safetensors". */
  readonly operation: string;
  readonly got: string;
  readonly expected: string;
  readonly cure: string;
};

/** Each class spells its name, which a minifier would shorten. */
export abstract class GraduallyError extends Error {
  readonly complaint: Complaint;

  constructor(complaint: Complaint, options?: ErrorOptions) {
    const { operation, got, expected, cure } = complaint;
    super(`${operation}: got ${got}; expected ${expected}; ${cure}`, options);
    this.complaint = complaint;
  }
}

/** Sizes or dtypes that do not fit one another. */
export class ShapeError extends GraduallyError {
  override readonly name = "ShapeError";
}
/** A file that is not what it claims to be. */
export class FormatError extends GraduallyError {
  override readonly name = "FormatError";
}
/** A setting, flag, recipe or config.json that makes no sense. */
export class ConfigError extends GraduallyError {
  override readonly name = "ConfigError";
}
/** The machine cannot do it: memory, threads, limits, non-finite results, disk. */
export class DeviceError extends GraduallyError {
  override readonly name = "DeviceError";
}
/** A request (generation, API call) that cannot be served. */
export class RequestError extends GraduallyError {
  override readonly name = "RequestError";
}

/** A stranger's value in a message: small ones as they are, others by what they are. An object of ours has no prototype, hence no String(). */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value, 60);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/** Makes any text from a file safe for one line of a terminal, at most `limit` characters. */
export function quote(text: string, limit = 80): string {
  const safe = JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return safe.length > limit ? `${safe.slice(0, limit)}…"` : safe;
}
