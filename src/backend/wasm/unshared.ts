// The kernels for a memory that is not shared. They are compiled to import a shared one; pages that are not cross-origin isolated may not have that
// everywhere. Atomic instructions work on both (only waiting traps, which one thread never does), so the one difference is a flag of the import.
// In: the bytes of a module. Out: a copy that imports a memory of the same limits, not shared. Format: WebAssembly core specification, binary modules.

const importSection = 2;
const memoryKind = 2;
const sharedFlag = 2;

export function withUnsharedMemory(module: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(module);
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] as number;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const skip = (count: number) => {
    at += count;
  };
  while (at < bytes.length) {
    const section = bytes[at++];
    const size = number();
    const end = at + size;
    if (section === importSection) {
      for (let left = number(); left > 0; left--) {
        skip(number()); // the module's name
        skip(number()); // the field's
        const kind = bytes[at++];
        if (kind === memoryKind) {
          bytes[at] = (bytes[at] as number) & ~sharedFlag;
          return bytes;
        }
        number(); // of a function: its type. Nothing else comes before the memory in our modules.
      }
    }
    at = end;
  }
  return bytes;
}
