// Where one writes. Enter sends, Escape stops, the arrow up edits the last message when the field is empty. What is sent before the models are known
// goes when they are.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { model } from "../state/app.ts";
import { current, running, send, stop } from "../state/chats.ts";
import { Icon } from "../ui/icon.tsx";
import { IconButton } from "../ui/icon-button.tsx";
import { t } from "../words/words.ts";
import { BudgetSlider } from "./budget-slider.tsx";
import { isComposing, isSending } from "./keys.ts";
import { editing } from "./question-view.tsx";
import { SamplingDialog } from "./sampling-dialog.tsx";

export function Composer() {
  const [text, setText] = useState("");
  const [isEarly, setEarly] = useState(false);
  const [isTuning, setTuning] = useState(false);
  const ref = useRef<HTMLTextAreaElement>(null);
  const isBusy = running.value.has(current.value.id);
  const canSend = text.trim() !== "" && model.value !== undefined;

  // the height follows the text
  useLayoutEffect(() => {
    const field = ref.current;
    if (!field) return;
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight, 240)}px`;
  }, [text]);
  // another conversation, another beginning
  useLayoutEffect(() => {
    if (matchMedia("(hover: hover)").matches) ref.current?.focus();
  }, [current.value.id]);

  const submit = () => {
    if (isBusy) return;
    setEarly(!canSend && text.trim() !== "");
    if (!canSend) return;
    send(text.trim());
    setText("");
  };
  useEffect(() => {
    if (isEarly && canSend) submit();
  }, [isEarly, canSend]);
  const onKey = (event: KeyboardEvent) => {
    if (isSending(event)) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && text === "" && !isBusy && !isComposing(event)) {
      const last = current.value.messages.findLast(({ role }) => role === "user");
      if (!last) return;
      event.preventDefault();
      editing.value = last.id;
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <div class="composer-field">
        <textarea
          id="composer"
          ref={ref}
          rows={1}
          aria-label={t("ask")}
          placeholder={model.value?.solves ? t("askSolver") : t("ask")}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setEarly(false);
          }}
          onKeyDown={onKey}
        />
        {isBusy ? (
          <button type="button" class="send" aria-label={t("stop")} title={`${t("stop")} (Esc)`} onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="send" aria-label={t("send")} title={t("hint")} disabled={!canSend}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <div class="composer-tools">
        <BudgetSlider />
        <IconButton icon="tune" isWide label={t("settings")} onClick={() => setTuning(true)} />
      </div>
      {isTuning && <SamplingDialog onClose={() => setTuning(false)} />}
    </form>
  );
}
