// One answer: its thinking, its text, what can be done with it, what it took.

import { memo } from "preact/compat";
import { chooseVersion, retry, thinkOn } from "../state/chats.ts";
import { type AssistantMessage, chosenVersion, type Version } from "../state/conversation.ts";
import { Prose } from "../text/prose.tsx";
import { CopyButton } from "../ui/copy-button.tsx";
import { IconButton } from "../ui/icon-button.tsx";
import { Notice } from "../ui/notice.tsx";
import { count, t } from "../words/words.ts";
import { overwriting } from "./overwrite.tsx";
import { editing } from "./question-view.tsx";
import { Thinking } from "./thinking.tsx";
import { VerdictLine } from "./verdict.tsx";

type Props = {
  readonly message: AssistantMessage;
  /** The user's words before it. */
  readonly question: string;
  readonly questionId: string | undefined;
  readonly isSolver: boolean;
  readonly isBusy: boolean;
};

export const AnswerView = memo(({ message, question, questionId, isSolver, isBusy }: Props) => {
  const version = chosenVersion(message);
  if (!version) return null;
  const isRunning = version.state === "running";
  const again = () => overwriting(message.id, 0, () => retry(message.id));
  return (
    <article class="answer" aria-label={t("answer")} aria-busy={isRunning}>
      {version.reasoning !== "" && <Thinking key={message.chosen} version={version} isSolver={isSolver} />}
      {isRunning && version.reasoning === "" && version.content === "" && <p class="small pulse">{t("reading")}</p>}
      {version.content !== "" && <Content text={version.content} isSolver={isSolver} />}
      {isSolver && !isRunning && <VerdictLine question={question} answer={version.content} />}
      {version.state === "stopped" && <p class="small">{t("stopped")}</p>}
      {version.state === "left" && <p class="small">{t("left")}</p>}
      {version.state === "length" && <p class="small">{t("cut")}</p>}
      {version.error && (
        <Notice
          trouble={version.error}
          // What was refused once would be refused again: it wants other words.
          {...(version.error.code === "refused" ? { label: t("edit"), onRetry: () => (editing.value = questionId) } : { onRetry: again })}
        />
      )}
      {!isRunning && (
        <footer class="answer-tools">
          <Versions message={message} />
          {version.content !== "" && <CopyButton text={version.content.trim()} />}
          {!version.error && <IconButton icon="retry" label={t("retry")} disabled={isBusy} onClick={again} />}
          {version.reasoning !== "" && version.state !== "stopped" && version.state !== "left" && (
            <IconButton
              icon="wait"
              isWide
              label={t("thinkOn")}
              title={t("thinkOnTitle")}
              disabled={isBusy}
              onClick={() => overwriting(message.id, 0, () => thinkOn(message))}
            />
          )}
          <Numbers version={version} />
        </footer>
      )}
    </article>
  );
});

function Content({ text, isSolver }: { readonly text: string; readonly isSolver: boolean }) {
  // An expression is no Markdown: 3*5*7 has no emphasis in it.
  return isSolver ? <p class="expression">{text.trim()}</p> : <Prose text={text} />;
}

function Versions({ message: { id, versions, chosen } }: { readonly message: AssistantMessage }) {
  if (versions.length < 2) return null;
  return (
    <span class="versions">
      <IconButton icon="left" label={t("earlier")} disabled={chosen === 0} onClick={() => chooseVersion(id, chosen - 1)} />
      <span title={t("version", { at: chosen + 1, count: versions.length })}>{`${chosen + 1} / ${versions.length}`}</span>
      <IconButton icon="right" label={t("later")} disabled={chosen === versions.length - 1} onClick={() => chooseVersion(id, chosen + 1)} />
    </span>
  );
}

function Numbers({ version: { usage } }: { readonly version: Version }) {
  if (!usage) return null;
  const speed = usage.tokensPerSecond;
  return (
    <span class="numbers">
      {t("tokens", { count: count(usage.completionTokens) })}
      {speed > 0 && ` · ${t("speed", { speed: speed < 10 ? speed.toFixed(1) : count(speed) })}`}
    </span>
  );
}
