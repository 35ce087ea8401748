// Server-sent events from a response's body. In: bytes in pieces of any size. Out: the data of each event, as text. Comments and names of events
// are dropped; lines may end in \n or \r\n. An event larger than 16 million characters is refused: it is no token.

const mostCharacters = 16_000_000;

export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>).getReader();
  let rest = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      if (rest.length > mostCharacters) throw new RangeError("an event that does not end");
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const text = line.endsWith("\r") ? line.slice(0, -1) : line;
        if (text.startsWith("data:")) data.push(text.slice(text.startsWith("data: ") ? 6 : 5));
        else if (text === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
