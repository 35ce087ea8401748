// Keys that work everywhere. Letters only outside of fields, so that writing is never disturbed; Escape in fields too, but not while an input
// method uses it, nor when a dialog is open, which the browser closes by itself.

import { useEffect } from "preact/hooks";
import { isComposing } from "../chat/keys.ts";
import { startNew, stop } from "../state/chats.ts";
import { go } from "../state/route.ts";
import { t, type WordName } from "../words/words.ts";
import { Dialog } from "./dialog.tsx";
import { views } from "./navigation.tsx";

const keys: readonly (readonly [keys: string, name: WordName])[] = [
  ["Enter", "keySend"],
  ["Shift + Enter", "keyBreak"],
  ["Esc", "keyStop"],
  ["/", "keyFocus"],
  ["↑", "keyEdit"],
  ["N", "keyNew"],
  ["1  2  3", "keyViews"],
  ["?", "keyHelp"],
];

export function useShortcuts(onHelp: () => void): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isComposing(event) || document.querySelector("dialog[open]")) return;
      if (event.key === "Escape") {
        stop();
        return;
      }
      if (isField(event.target)) return;
      const view = views[Number(event.key) - 1];
      if (view) go(view);
      else if (event.key === "?") onHelp();
      else if (event.key === "n" || event.key === "N") startNew();
      else if (event.key === "/") document.querySelector<HTMLElement>("#composer, .lab-question textarea")?.focus();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [onHelp]);
}

function isField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (/^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable);
}

export function ShortcutsDialog({ onClose }: { readonly onClose: () => void }) {
  return (
    <Dialog title={t("shortcuts")} onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, name]) => (
          <div key={name}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{t(name)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
