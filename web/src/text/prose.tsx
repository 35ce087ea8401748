// A text in Markdown on the page. Blocks that did not change are not drawn again, so a long answer streams smoothly.

import type { JSX } from "preact";
import { memo } from "preact/compat";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { CopyButton } from "../ui/copy-button.tsx";
import { type Block, toBlocks } from "./markdown.ts";
import { renderMath } from "./math.ts";

export function Prose({ text }: { readonly text: string }) {
  const blocks = useMemo(() => toBlocks(text), [text]);
  return (
    <div class="prose">
      {blocks.map((block, i) => (
        // blocks only grow at the end
        <BlockView key={i} block={block} />
      ))}
    </div>
  );
}

const BlockView = memo(
  ({ block }: { readonly block: Block }) =>
    block.kind === "code" ? <Code text={block.text} language={block.language} /> : <Html html={block.html} />,
  (before, after) => before.block.raw === after.block.raw,
);

function Code({ text, language }: { readonly text: string; readonly language: string }) {
  return (
    <div class="code">
      <div class="code-head">
        <span>{language}</span>
        <CopyButton text={text} />
      </div>
      <pre>
        <code>{showDirections(text)}</code>
      </pre>
    </div>
  );
}

/** Signs that reorder what follows would show other code than is copied and run, so they are shown by their number. */
function showDirections(text: string): (string | JSX.Element)[] {
  return text
    .split(/([\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])/)
    .map((piece, i) =>
      i % 2 === 1 ? <mark key={i}>{`U+${piece.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`}</mark> : piece,
    );
}

/** The HTML comes from toBlocks, which let nothing through but what it lists. */
function Html({ html }: { readonly html: string }) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const place = ref.current;
    if (!place) return;
    place.innerHTML = html;
    void renderMath(place);
  }, [html]);
  return <div ref={ref} />;
}
