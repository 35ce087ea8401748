// The report of a run: its Markdown, cleaned as an answer is, with its plots in the places where it names them. Plots come as blobs through the
// client (an <img> sends no key) and are shown as pictures, so no script of theirs can run.

import { useEffect, useState } from "preact/hooks";
import { client, type Trouble, troubleOf } from "../state/app.ts";
import { Prose } from "../text/prose.tsx";
import { Notice } from "../ui/notice.tsx";

type Part = { readonly text: string } | { readonly picture: string; readonly alt: string };

/** `![alt](loss.svg)` on a line of its own. */
const pictureLine = /^!\[([^\]\n]{0,200})\]\(([a-z]+\.svg)\)$/gm;

export function partsOf(markdown: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const found of markdown.matchAll(pictureLine)) {
    parts.push({ text: markdown.slice(end, found.index) }, { picture: found[2] as string, alt: found[1] as string });
    end = found.index + found[0].length;
  }
  parts.push({ text: markdown.slice(end) });
  return parts.filter((part) => !("text" in part) || part.text.trim() !== "");
}

export function Report({ id }: { readonly id: string }) {
  const [text, setText] = useState<string | undefined>(undefined);
  const [trouble, setTrouble] = useState<Trouble | undefined>(undefined);
  useEffect(() => {
    const read = async () => setText(await (await client.value?.runs?.file(id, "report.md"))?.text());
    read().catch((error: unknown) => setTrouble(troubleOf(error)));
  }, [id]);
  if (trouble) return <Notice trouble={trouble} />;
  if (text === undefined) return null;
  return (
    <article class="report">
      {partsOf(text).map(
        (part, i) =>
          // biome-ignore-start lint/suspicious/noArrayIndexKey: the parts of one text stay in order
          "text" in part ? <Prose key={i} text={part.text} /> : <Picture key={i} id={id} name={part.picture} alt={part.alt} />,
        // biome-ignore-end lint/suspicious/noArrayIndexKey: see above
      )}
    </article>
  );
}

function Picture({ id, name, alt }: { readonly id: string; readonly name: string; readonly alt: string }) {
  const [url, setUrl] = useState<string | undefined>(undefined);
  useEffect(() => {
    let made: string | undefined;
    let isGone = false;
    client.value?.runs?.file(id, name).then(
      (blob) => {
        if (isGone) return;
        made = URL.createObjectURL(blob);
        setUrl(made);
      },
      () => setUrl(undefined),
    );
    return () => {
      isGone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [id, name]);
  return url ? <img class="picture" src={url} alt={alt} /> : <p class="small">{alt}</p>;
}
