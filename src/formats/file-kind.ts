// What a file is that is not what its name says: told by its first bytes, for the messages of the readers. In: some first bytes. Out: a phrase, or
// undefined for a kind that is not known. Nothing is opened or unpacked. Hazards P01, P02, P05, P06.

const kinds: readonly (readonly [phrase: string, beginning: string])[] = [
  ["a ZIP archive, as PyTorch writes its checkpoints", "PK\x03\x04"],
  ["a Python pickle", "\x80\x02"],
  ["a Python pickle", "\x80\x03"],
  ["a Python pickle", "\x80\x04"],
  ["a Python pickle", "\x80\x05"],
  ["an HDF5 file", "\x89HDF"],
  ["a NumPy array", "\x93NUMPY"],
  ["a GGUF file", "GGUF"],
  ["a Git LFS pointer in place of the file", "version https://git-lfs"],
  ["a web page", "<!DOCTYPE"],
  ["a web page", "<!doctype"],
  ["a web page", "<html"],
  ["a program", "\x7fELF"],
  ["a program", "MZ"],
  ["a gzip file", "\x1f\x8b"],
];

/** As many first bytes as tell. */
export const kindBytes = 24;

/** For example "a Python pickle". */
export function fileKind(first: Uint8Array): string | undefined {
  const text = String.fromCharCode(...first.subarray(0, kindBytes));
  return kinds.find(([, beginning]) => text.startsWith(beginning))?.[0];
}
