// The page begins here: words and colours first, then the app, then the models and the conversations.

import { render } from "preact";
import "./style/base.css";
import "./style/parts.css";
import "./style/chat.css";
import "./style/runs.css";
import "./style/lab.css";
import "./style/tab.css";
import "./style/touch.css";
import { start } from "./state/app.ts";
import { keepRunning, loadConversations } from "./state/chats.ts";
import { App } from "./ui/app.tsx";
import { keepTheme } from "./ui/theme.ts";
import { keepLanguage } from "./words/words.ts";

keepLanguage();
keepTheme();
render(<App />, document.getElementById("app") as HTMLElement);
void start();
void loadConversations();
// Out of sight a page may be frozen, and a frozen one discarded, without another word.
document.addEventListener("visibilitychange", () => document.hidden && keepRunning());
document.addEventListener("freeze", keepRunning);
window.addEventListener("pagehide", keepRunning);
