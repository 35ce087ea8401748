// The conversation on show. The page follows an answer to its end as long as the reader is at the end; who scrolls up is left in peace, and has a
// button back. What one says oneself, and another conversation, is always shown from its end.

import { useEffect, useRef, useState } from "preact/hooks";
import { client, model, start, trouble } from "../state/app.ts";
import { current, running } from "../state/chats.ts";
import { type Conversation, titleOf, type UserMessage } from "../state/conversation.ts";
import { IconButton } from "../ui/icon-button.tsx";
import { Notice } from "../ui/notice.tsx";
import { t } from "../words/words.ts";
import { AnswerView } from "./answer-view.tsx";
import { Composer } from "./composer.tsx";
import { Opening } from "./opening.tsx";
import { OverwriteDialog } from "./overwrite.tsx";
import { QuestionView } from "./question-view.tsx";

export function ChatView() {
  const conversation = current.value;
  const isBusy = running.value.has(conversation.id);
  const isSolver = model.value?.solves ?? false;
  const { ref, isAway, toEnd } = useFollowing(conversation);
  return (
    <div class="chat">
      {conversation.messages.length > 0 && <h1 class="unseen">{titleOf(conversation)}</h1>}
      <div class="messages" ref={ref}>
        <div class="column" role="log" aria-live="off">
          {trouble.value && <Notice trouble={trouble.value} onRetry={() => void start()} />}
          {conversation.messages.length === 0 &&
            !trouble.value &&
            (model.value === undefined && client.value?.place !== "tab" ? <p class="small pulse">{t("loadingModel")}</p> : <Opening />)}
          {conversation.messages.map((message, i) =>
            message.role === "user" ? (
              <QuestionView key={message.id} message={message} isBusy={isBusy} />
            ) : (
              <AnswerView
                key={message.id}
                message={message}
                question={(conversation.messages[i - 1] as UserMessage | undefined)?.text ?? ""}
                questionId={conversation.messages[i - 1]?.id}
                isSolver={isSolver}
                isBusy={isBusy}
              />
            ),
          )}
        </div>
      </div>
      <div class="column composer-place">
        {isAway && <IconButton icon="down" class="to-end" label={t("toEnd")} onClick={toEnd} />}
        <Composer />
      </div>
      <OverwriteDialog />
      <p class="unseen" role="status">
        {isBusy ? t("answer") : ""}
      </p>
    </div>
  );
}

/** Keeps the end in sight unless the reader left it. */
function useFollowing({ id, messages }: Conversation) {
  const ref = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const [isAway, setAway] = useState(false);
  const toEnd = () => ref.current?.scrollTo({ top: ref.current.scrollHeight });
  const look = () => {
    if (!ref.current) return;
    const { scrollHeight, scrollTop, clientHeight } = ref.current;
    const below = scrollHeight - scrollTop - clientHeight;
    isAtEnd.current = below < 60;
    setAway(below > clientHeight / 2);
  };
  useEffect(() => {
    const place = ref.current;
    place?.addEventListener("scroll", look, { passive: true });
    return () => place?.removeEventListener("scroll", look);
  }, []);
  const last = messages.at(-1)?.id;
  // another conversation, or something said
  useEffect(() => {
    isAtEnd.current = true;
  }, [id, last]);
  // each change may be longer
  useEffect(() => {
    if (isAtEnd.current) toEnd();
    look();
  }, [messages]);
  return { ref, isAway, toEnd };
}
