// Room on the disk and in memory, and what to say when there is too little: how much is there, what takes it, what would fit. In: bytes wanted. Out: nothing,
// or a DeviceError.

import { DeviceError, quote } from "../../core/errors.ts";
import { type MemoryNeeds, megabytes, tooLarge } from "../memory-needs.ts";
import { hasStore, listStored } from "./store.ts";

/** Bytes that the origin may still store, as the browser reckons; undefined where it does not tell. */
export async function freeBytes(): Promise<number | undefined> {
  if (!(await hasStore())) return undefined; // memory tells only by refusing
  const { quota, usage } = await navigator.storage.estimate();
  return quota === undefined || usage === undefined ? undefined : Math.max(0, quota - usage);
}

/** Throws DeviceError when `bytes` more cannot be stored. `except`: the model that they are for. */
export async function checkRoom(bytes: number, except: string): Promise<void> {
  const free = await freeBytes();
  if (free !== undefined && bytes > free) throw await noRoom(bytes, free, except);
}

/** Also what a refused write becomes; `free` is then what was taken before. Browsers keep their estimate vague: the write is the judge. */
export async function noRoom(bytes: number, free: number, except: string): Promise<DeviceError> {
  const others = (await listStored()).filter(({ name, bytes: size }) => name !== except && size > 0);
  const list = others.map(({ name, bytes: size }) => `${quote(name)} (${megabytes(size)})`).join(", ");
  const cure = others.length > 0 ? `delete stored models: ${list}, ` : "";
  return new DeviceError({
    operation: `store the model ${quote(except)}`,
    got: `${megabytes(bytes)} to be stored`,
    expected: `at most ${megabytes(free)}, which is what the browser gives now`,
    cure: `${cure}${cure ? "or " : ""}choose a smaller model or one of fewer bits, or free space on the disk; a file of the user loads with keep: false`,
  });
}

const close = "close other tabs";

/** GiB as the browser rounds it; it says 8 of all that have 8 or more (newer ones go on to 32). */
function deviceMemory(): number | undefined {
  const { deviceMemory: gib } = navigator as { readonly deviceMemory?: number };
  return gib;
}

/** Refuses what surely does not fit, before anything is allocated: the browser rounds to a power of two, so half as much again may be there. */
export function checkMemory(name: string, needs: MemoryNeeds, gib = deviceMemory()): void {
  if (gib === undefined || gib >= 8) return;
  const most = 1.5 * gib * 2 ** 30;
  if (needs.weightBytes + needs.cacheBytes > most) throw tooLarge(name, needs, { place: `a device of about ${gib} GiB`, most, close });
}

/** `given`: bytes that the browser gave before it refused more. */
export function memoryRefused(name: string, needs: MemoryNeeds, given: number, cause: unknown): DeviceError {
  const gib = deviceMemory();
  const place = `a browser that gave ${megabytes(given)}${gib === undefined ? "" : ` on a device of ${gib} GiB${gib >= 8 ? " or more" : ""}`}`;
  return tooLarge(name, needs, { place, most: given, close }, cause);
}
