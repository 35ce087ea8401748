// A text in Markdown on the page. Blocks that did not change are not drawn again, so a long answer streams smoothly.

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
        <code>{text}</code>
      </pre>
    </div>
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
