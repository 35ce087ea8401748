// What went wrong, with its cure: the page's own words first, what the server said below, and the button that helps. A server that wants a key gets a
// field for it right here.

import { useState } from "preact/hooks";
import { rememberKey } from "../client/http.ts";
import { client, refreshModels, start, type Trouble } from "../state/app.ts";
import { t, type WordName } from "../words/words.ts";

type Props = {
  readonly trouble: { readonly code: string; readonly detail: string };
  readonly onRetry?: () => void;
  readonly label?: string;
};

const codes: ReadonlySet<string> = new Set<Trouble["code"]>(["unreachable", "key", "busy", "loading", "refused", "broken", "memory"]);

export function Notice({ trouble, onRetry, label = t("tryAgain") }: Props) {
  const code = codes.has(trouble.code) ? trouble.code : "broken";
  // Where everything runs in the tab nobody should look for a server.
  const name = (client.value?.place === "tab" && (code === "refused" || code === "broken") ? `${code}Tab` : code) as WordName;
  return (
    <div class="notice" role="alert">
      <p>{t(name)}</p>
      {trouble.detail && trouble.code !== "key" && <p class="notice-detail">{trouble.detail}</p>}
      {trouble.code === "key" ? (
        <KeyField onDone={onRetry} />
      ) : (
        onRetry && (
          <button type="button" class="button" onClick={onRetry}>
            {label}
          </button>
        )
      )}
    </div>
  );
}

function KeyField({ onDone }: { readonly onDone: (() => void) | undefined }) {
  const [key, setKey] = useState("");
  const use = async (event: Event) => {
    event.preventDefault();
    rememberKey(key.trim());
    await start();
    await refreshModels().catch(() => {});
    onDone?.();
  };
  return (
    <form class="key-field" onSubmit={use}>
      <label>
        <span>{t("keyLabel")}</span>
        <input type="password" autocomplete="off" value={key} onInput={(event) => setKey(event.currentTarget.value)} />
      </label>
      <button type="submit" class="button primary" disabled={key.trim() === ""}>
        {t("keySave")}
      </button>
    </form>
  );
}
