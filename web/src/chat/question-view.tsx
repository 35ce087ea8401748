// What the user said; editing it asks again in its place. `editing` is shared, so that the arrow key in an empty field can open the last one.

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { send } from "../state/chats.ts";
import type { UserMessage } from "../state/conversation.ts";
import { CopyButton } from "../ui/copy-button.tsx";
import { IconButton } from "../ui/icon-button.tsx";
import { t } from "../words/words.ts";
import { isSending } from "./keys.ts";
import { overwriting } from "./overwrite.tsx";

/** The id of the message that is being edited. */
export const editing = signal<string | undefined>(undefined);

export function QuestionView({ message, isBusy }: { readonly message: UserMessage; readonly isBusy: boolean }) {
  if (editing.value === message.id) return <Editor message={message} />;
  return (
    <article class="question" aria-label={t("you")}>
      <p>{message.text}</p>
      <footer class="question-tools">
        <CopyButton text={message.text} />
        <IconButton
          icon="edit"
          label={t("edit")}
          disabled={isBusy}
          onClick={() => {
            editing.value = message.id;
          }}
        />
      </footer>
    </article>
  );
}

function Editor({ message }: { readonly message: UserMessage }) {
  const [text, setText] = useState(message.text);
  const ref = useRef<HTMLTextAreaElement>(null);
  // Before anything is painted: what is typed on at once belongs here, not to the shortcuts.
  useLayoutEffect(() => {
    ref.current?.focus();
    ref.current?.select();
  }, []);
  const end = () => {
    editing.value = undefined;
  };
  const save = () => {
    if (text.trim() === "") return;
    // Its own answer goes with the question.
    overwriting(message.id, 1, () => {
      end();
      send(text.trim(), message.id);
    });
  };
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        ref={ref}
        aria-label={t("edit")}
        rows={Math.min(8, text.split("\n").length)}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (isSending(event)) {
            event.preventDefault();
            save();
          } else if (event.key === "Escape") {
            event.stopPropagation();
            end();
          }
        }}
      />
      <div class="editor-tools">
        <button type="button" class="button" onClick={end}>
          {t("cancel")}
        </button>
        <button type="submit" class="button primary">
          {t("save")}
        </button>
      </div>
    </form>
  );
}
