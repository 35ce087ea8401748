// Turns what node:fs throws into the system's own errors.
// In: the operation, the path and the thrown value. Out: a ConfigError (the path is wrong), or a DeviceError (the machine cannot).

import { type Complaint, ConfigError, DeviceError, GraduallyError, quote } from "../core/errors.ts";

type Cause = { readonly kind: "config" | "device"; readonly got: string; readonly expected: string; readonly cure: string };

const causes: Readonly<Record<string, Cause>> = {
  ENOENT: { kind: "config", got: "no such file or folder", expected: "an existing path", cure: "check the path" },
  ENOTDIR: { kind: "config", got: "a file where a folder is named", expected: "folders along the path", cure: "check the path" },
  EEXIST: { kind: "config", got: "a file where a folder is named", expected: "a folder, or nothing yet", cure: "check the path" },
  EISDIR: { kind: "config", got: "a folder", expected: "a file", cure: "name a file" },
  ENAMETOOLONG: {
    kind: "config",
    got: "a name that is too long",
    expected: "a name that the file system takes",
    cure: "use a shorter name",
  },
  ELOOP: { kind: "config", got: "symbolic links that lead in a circle", expected: "a file", cure: "check the links" },
  ERR_INVALID_ARG_VALUE: { kind: "config", got: "a path with a NUL character", expected: "a plain path", cure: "check the path" },
  ENOSPC: { kind: "device", got: "a full disk", expected: "free space", cure: "make space and try again; nothing was half-written" },
  EDQUOT: {
    kind: "device",
    got: "a used-up disk quota",
    expected: "free space",
    cure: "make space and try again; nothing was half-written",
  },
  EFBIG: {
    kind: "device",
    got: "a file above the size limit",
    expected: "a limit that fits",
    cure: "raise the limit (ulimit -f) or use another disk",
  },
  EACCES: { kind: "device", got: "no permission", expected: "a path that this user may use", cure: "change the permissions or the path" },
  EPERM: { kind: "device", got: "no permission", expected: "a path that this user may use", cure: "change the permissions or the path" },
  EROFS: { kind: "device", got: "a read-only file system", expected: "a writable one", cure: "choose another folder" },
  EMFILE: { kind: "device", got: "too many open files", expected: "fewer open files", cure: "raise the limit (ulimit -n)" },
  EIO: { kind: "device", got: "an input/output error", expected: "a healthy disk", cure: "check the disk" },
};

/** The error to throw instead of `thrown`; errors of this system pass unchanged. */
export function fileError(action: string, path: string, thrown: unknown): GraduallyError {
  if (thrown instanceof GraduallyError) return thrown;
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
  const operation = `${action} ${quote(path, 300)}`;
  const cause = causes[code];
  if (cause) {
    const complaint: Complaint = {
      operation,
      got: code.startsWith("ERR") ? cause.got : `${cause.got} (${code})`,
      expected: cause.expected,
      cure: cause.cure,
    };
    return cause.kind === "config" ? new ConfigError(complaint, { cause: thrown }) : new DeviceError(complaint, { cause: thrown });
  }
  const got = code || quote(thrown instanceof Error ? thrown.message : String(thrown));
  return new DeviceError({ operation, got, expected: "the operating system to do it", cure: "look up the error code" }, { cause: thrown });
}

/** Runs `work` and translates what it throws. */
export async function translated<T>(action: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw fileError(action, path, thrown);
  }
}

export function hasCode(thrown: unknown, ...codes: string[]): boolean {
  return thrown instanceof Error && "code" in thrown && codes.includes(String(thrown.code));
}
