// The page begins here: words and colours first, then the app, then the models and the conversations.

import { render } from "preact";
import "./style/base.css";
import "./style/parts.css";
import "./style/chat.css";
import "./style/runs.css";
import "./style/lab.css";
import "./style/tab.css";
import { start } from "./state/app.ts";
import { loadConversations } from "./state/chats.ts";
import { App } from "./ui/app.tsx";
import { keepTheme } from "./ui/theme.ts";
import { keepLanguage } from "./words/words.ts";

keepLanguage();
keepTheme();
render(<App />, document.getElementById("app") as HTMLElement);
void start();
void loadConversations();
