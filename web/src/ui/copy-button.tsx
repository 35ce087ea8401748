// Copies a text and says so for a moment.

import { useState } from "preact/hooks";
import { t } from "../words/words.ts";
import { IconButton } from "./icon-button.tsx";

export function CopyButton({ text }: { readonly text: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return; // The browser forbids it; the text can still be selected.
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return <IconButton icon={isDone ? "check" : "copy"} label={isDone ? t("copied") : t("copy")} onClick={copy} />;
}
