// The frame around the views: the side bar (a drawer on a phone), the view, the shortcuts. Runs and Lab are loaded when they are first opened.

import { useEffect, useState } from "preact/hooks";
import { ChatView } from "../chat/chat-view.tsx";
import { Conversations } from "../chat/conversations.tsx";
import { client } from "../state/app.ts";
import { show } from "../state/chats.ts";
import { route } from "../state/route.ts";
import { t } from "../words/words.ts";
import { useDrawer } from "./drawer.ts";
import { IconButton } from "./icon-button.tsx";
import { later } from "./later.tsx";
import { ModelPicker } from "./model-picker.tsx";
import { Navigation } from "./navigation.tsx";
import { Preferences } from "./preferences.tsx";
import { ShortcutsDialog, useShortcuts } from "./shortcuts.tsx";

const RunsView = later(async () => (await import("../runs/runs-view.tsx")).RunsView);
const RunsList = later(async () => (await import("../runs/runs-list.tsx")).RunsList);
const LabView = later(async () => (await import("../lab/lab-view.tsx")).LabView);
const TabModels = later(async () => (await import("../tab/tab-models.tsx")).TabModels);

export function App() {
  const [isMenuOpen, setMenuOpen] = useState(false);
  const [isHelpOpen, setHelpOpen] = useState(false);
  const { view, item } = route.value;
  useShortcuts(() => setHelpOpen(true));
  const side = useDrawer(isMenuOpen, () => setMenuOpen(false));
  // the address decides what is on show
  useEffect(() => {
    if (view === "chat") show(item);
    setMenuOpen(false);
  }, [view, item]);
  useEffect(() => {
    document.title = view === "chat" ? "gradually" : `${t(view)} · gradually`;
  });
  return (
    <div class={isMenuOpen ? "frame is-menu-open" : "frame"}>
      <button type="button" class="skip" onClick={() => document.getElementById("content")?.focus()}>
        {t("skip")}
      </button>
      <aside class="side" ref={side}>
        <div class="brand">
          <span class="brand-name">gradually</span>
          <IconButton icon="close" class="only-phone" label={t("close")} onClick={() => setMenuOpen(false)} />
        </div>
        <Navigation />
        <div class="side-list">
          {view === "chat" && <Conversations />}
          {view === "runs" && <RunsList />}
        </div>
        <Preferences onHelp={() => setHelpOpen(true)} />
      </aside>
      {isMenuOpen && <button type="button" class="veil" aria-label={t("close")} onClick={() => setMenuOpen(false)} />}
      <div class="body" inert={isMenuOpen}>
        <header class="top">
          <IconButton icon="menu" class="only-phone" label={t("menu")} onClick={() => setMenuOpen(true)} />
          <span class="top-title">{t(view)}</span>
          {view !== "runs" && <ModelPicker />}
        </header>
        <main id="content" tabIndex={-1}>
          {view !== "runs" && client.value?.place === "tab" && <TabModels />}
          {view === "chat" && <ChatView />}
          {view === "runs" && <RunsView />}
          {view === "lab" && <LabView />}
        </main>
      </div>
      {isHelpOpen && <ShortcutsDialog onClose={() => setHelpOpen(false)} />}
    </div>
  );
}
