// The conversations of this device, the newest first: open, delete, export, import.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { conversations, current, importConversations, remove, removeAll, running, startNew } from "../state/chats.ts";
import { type Conversation, hasWords, titleOf } from "../state/conversation.ts";
import { href } from "../state/route.ts";
import { isLasting } from "../state/store.ts";
import { Confirm } from "../ui/confirm.tsx";
import { IconButton } from "../ui/icon-button.tsx";
import { saveJson } from "../ui/save-file.ts";
import { t } from "../words/words.ts";

const isKept = signal(true);
/** With more than these one searches. */
const fewEnoughToSee = 8;

export function Conversations() {
  const [doomed, setDoomed] = useState<Conversation | "all" | undefined>(undefined);
  const [search, setSearch] = useState("");
  useEffect(() => {
    void isLasting().then((is) => {
      isKept.value = is;
    });
  }, []);
  const list = conversations.value;
  const words = search.trim().toLowerCase();
  const found = words === "" ? list : list.filter((one) => hasWords(one, words));
  return (
    <section aria-label={t("conversations")} class="conversations">
      <div class="side-head">
        <IconButton icon="plus" isWide class="new-chat" label={t("newChat")} onClick={startNew} />
        {list.length > fewEnoughToSee && (
          <input
            type="search"
            aria-label={t("search")}
            placeholder={t("search")}
            value={search}
            onInput={(event) => setSearch(event.currentTarget.value)}
          />
        )}
      </div>
      {!isKept.value && <p class="small">{t("notKept")}</p>}
      {list.length === 0 && <p class="small">{t("noConversations")}</p>}
      {list.length > 0 && found.length === 0 && <p class="small">{t("nothingFound")}</p>}
      <ul class="rows">
        {found.map((one) => (
          <Row key={one.id} conversation={one} onDelete={() => setDoomed(one)} />
        ))}
      </ul>
      <Files onDeleteAll={() => setDoomed("all")} />
      {doomed && (
        <Confirm
          question={
            doomed === "all" ? t("deleteAllSure", { count: list.length }) : t("deleteOneSure", { title: titleOf(doomed) || t("untitled") })
          }
          onYes={() => void (doomed === "all" ? removeAll() : remove(doomed.id))}
          onClose={() => setDoomed(undefined)}
        />
      )}
    </section>
  );
}

function Row({ conversation, onDelete }: { readonly conversation: Conversation; readonly onDelete: () => void }) {
  const isShown = conversation.id === current.value.id;
  const title = titleOf(conversation) || t("untitled");
  return (
    <li class={isShown ? "row is-shown" : "row"}>
      <a href={href("chat", conversation.id)} title={title} {...(isShown && { "aria-current": "true" })}>
        {running.value.has(conversation.id) && <span class="dot" aria-hidden="true" />}
        {title}
      </a>
      <IconButton
        icon="out"
        label={t("exportOne")}
        onClick={() => saveJson("gradually-conversation.json", { conversations: [conversation] })}
      />
      <IconButton icon="bin" label={t("deleteOne")} onClick={onDelete} />
    </li>
  );
}

function Files({ onDeleteAll }: { readonly onDeleteAll: () => void }) {
  const ref = useRef<HTMLInputElement>(null);
  const [isBad, setBad] = useState(false);
  const take = async (file: File | undefined) => {
    if (!file) return;
    try {
      setBad((await importConversations(await file.text())) === 0);
    } catch {
      setBad(true);
    }
  };
  const isEmpty = conversations.value.length === 0;
  return (
    <div class="file-tools">
      <IconButton icon="in" isWide label={t("importAll")} onClick={() => ref.current?.click()} />
      {!isEmpty && (
        <IconButton
          icon="out"
          isWide
          label={t("exportAll")}
          onClick={() => saveJson("gradually-conversations.json", { conversations: conversations.value })}
        />
      )}
      {!isEmpty && <IconButton icon="bin" isWide label={t("deleteAll")} onClick={onDeleteAll} />}
      <input
        ref={ref}
        type="file"
        accept="application/json,.json"
        hidden
        onChange={(event) => {
          void take(event.currentTarget.files?.[0]);
          event.currentTarget.value = "";
        }}
      />
      {isBad && (
        <p class="small" role="alert">
          {t("importBad")}
        </p>
      )}
    </div>
  );
}
