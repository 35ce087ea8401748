// GPT-2's byte alphabet: each of the 256 bytes as one printable character, so that byte-level BPE can keep its vocabulary
// as text. Printable Latin-1 bytes stand for themselves; the others get the characters from U+0100 on, in order.

export const byteToChar: readonly string[] = makeAlphabet();

export const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));

function makeAlphabet(): string[] {
  const alphabet: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    alphabet.push(String.fromCharCode(printable ? byte : next++));
  }
  return alphabet;
}
