// A folder that can prove that it is whole: manifest.json names every file with size and SHA-256 and is written last. In: a folder. Out: the manifest, or the first
// thing that is wrong. SHA-256 comes from Web Crypto, which Node and browsers share; it takes a file as one piece, so files stay below 2 GiB.

import { FormatError, GraduallyError } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonValue, parseJson } from "../core/json.ts";

export const manifestName = "manifest.json";
const format = 1;
const manifestLimit = 10_000_000;

export type Manifest = {
  readonly format: 1;
  readonly step: number;
  readonly files: readonly { readonly name: string; readonly size: number; readonly sha256: string }[];
};

/** Lower-case hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await globalThis.crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Hashes what the folder holds, read back from the disk, and writes manifest.json. */
export async function writeManifest(files: Files, folder: string, step: number): Promise<void> {
  const listed: { name: string; size: number; sha256: string }[] = [];
  for (const name of await files.list(folder)) {
    const bytes = await files.read(files.join(folder, name));
    listed.push({ name, size: bytes.length, sha256: await sha256(bytes) });
  }
  const manifest: Manifest = { format, step, files: listed };
  await files.writeAtomic(files.join(folder, manifestName), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** What is wrong with the folder of this step, as a short text, or undefined when every file is there as it was written. */
export async function findDamage(files: Files, folder: string, step: number): Promise<string | undefined> {
  try {
    const manifest = await readManifest(files, folder);
    if (manifest.step !== step) return `${manifestName} is of step ${manifest.step}`;
    const present = new Set(await files.list(folder));
    for (const { name, size, sha256: wanted } of manifest.files) {
      if (!present.has(name)) return `${name} is missing`;
      const bytes = await files.read(files.join(folder, name), size);
      if (bytes.length !== size) return `${name} has ${bytes.length} bytes in place of ${size}`;
      if ((await sha256(bytes)) !== wanted) return `${name} does not have the SHA-256 that manifest.json says`;
    }
    return undefined;
  } catch (error) {
    if (error instanceof GraduallyError) return error.complaint.got;
    throw error;
  }
}

async function readManifest(files: Files, folder: string): Promise<Manifest> {
  const path = files.join(folder, manifestName);
  const value = parseJson(await files.readText(path, manifestLimit), { source: path });
  if (!isManifest(value)) {
    throw new FormatError({
      operation: `read ${path}`,
      got: `a ${manifestName} that is none of format ${format}`,
      expected: "{format, step, files}",
      cure: "use another checkpoint",
    });
  }
  return value;
}

function isManifest(value: JsonValue): value is Manifest & JsonValue {
  if (!isJsonObject(value) || value.format !== format || !Array.isArray(value.files)) return false;
  return value.files.every(
    (file) => isJsonObject(file) && isBareName(file.name) && Number.isSafeInteger(file.size) && typeof file.sha256 === "string",
  );
}

/** A name that cannot lead out of the folder. */
function isBareName(name: JsonValue | undefined): boolean {
  return typeof name === "string" && /^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}$/.test(name);
}
