// Asks before messages are dropped: another answer in the middle of a conversation, or another question, ends what followed from the old one. In: the
// message that stays and what is to be done. Out: it is done at once where nothing would be lost, else after a yes.

import { signal } from "@preact/signals";
import { current } from "../state/chats.ts";
import { Confirm } from "../ui/confirm.tsx";
import { t } from "../words/words.ts";

const waiting = signal<{ readonly count: number; readonly act: () => void } | undefined>(undefined);

/** `own`: so many messages after this one belong to it and are known to go. */
export function overwriting(messageId: string, own: number, act: () => void): void {
  const { messages } = current.value;
  const at = messages.findIndex(({ id }) => id === messageId);
  const count = at < 0 ? 0 : messages.length - 1 - at - own;
  if (count > 0) waiting.value = { count, act };
  else act();
}

export function OverwriteDialog() {
  const asked = waiting.value;
  if (!asked) return null;
  return (
    <Confirm
      title={t("overwrite")}
      question={t("overwriteSure", { count: asked.count })}
      onYes={asked.act}
      onClose={() => {
        waiting.value = undefined;
      }}
    />
  );
}
