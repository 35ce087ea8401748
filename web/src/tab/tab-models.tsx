// Models of the static page: open one by its address or from the user's disk, see what is kept, delete it. Shown as a line when a model is open, and
// whole while there is none.

import { useEffect, useRef, useState } from "preact/hooks";
import { Confirm } from "../ui/confirm.tsx";
import { IconButton } from "../ui/icon-button.tsx";
import { Notice } from "../ui/notice.tsx";
import { t } from "../words/words.ts";
import { bytes } from "./bytes.ts";
import { forget, hasBundled, open, openBundled, opened, opening, refreshStored, stored, tabTrouble, warning } from "./tab-state.ts";

export function TabModels() {
  useEffect(() => {
    void refreshStored();
    void openBundled();
  }, []);
  return (
    <div class="tab-models column">
      {tabTrouble.value && <Notice trouble={tabTrouble.value} />}
      {warning.value && <p class="small">{warning.value}</p>}
      {opening.value && <Progress />}
      <details open={!opened.value && !opening.value}>
        <summary class="small">{t("tabTitle")}</summary>
        <div class="tab-body">
          <p class="small">{t("tabText")}</p>
          <Sources />
          <Stored />
        </div>
      </details>
    </div>
  );
}

function Progress() {
  const { what, progress, stop } = opening.value ?? {};
  const { bytes: done = 0, total = 0 } = progress ?? {};
  return (
    <div class="tab-progress" role="status">
      <span class="small">{what}</span>
      <progress aria-label={t("loadingModel")} {...(total > 0 && { max: total, value: done })} />
      <span class="small">{total > 0 ? t("tabProgress", { done: bytes(done), total: bytes(total) }) : t("loadingModel")}</span>
      <IconButton icon="close" label={t("stop")} onClick={() => stop?.abort()} />
    </div>
  );
}

function Sources() {
  const [address, setAddress] = useState("");
  const file = useRef<HTMLInputElement>(null);
  return (
    <div class="tab-sources">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (address.trim() !== "") void open(address.trim(), address.trim());
        }}
      >
        <label>
          <span class="label">{t("tabUrl")}</span>
          <input
            type="text"
            inputMode="url"
            placeholder="hf:Qwen/Qwen3-0.6B"
            value={address}
            onInput={(event) => setAddress(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="button" disabled={address.trim() === ""}>
          {t("tabFetch")}
        </button>
      </form>
      <button type="button" class="button" onClick={() => file.current?.click()}>
        {t("tabFile")}
      </button>
      {hasBundled.value && !opened.value && (
        <button type="button" class="button" onClick={() => void openBundled()}>
          {t("tabBundled")}
        </button>
      )}
      <input
        ref={file}
        type="file"
        multiple
        hidden
        onChange={(event) => {
          const { files } = event.currentTarget;
          if (files && files.length > 0) void open([...files], files[0]?.name ?? "");
          event.currentTarget.value = "";
        }}
      />
    </div>
  );
}

function Stored() {
  const [doomed, setDoomed] = useState<string | undefined>(undefined);
  return (
    <section aria-label={t("tabStored")}>
      <h3>{t("tabStored")}</h3>
      {stored.value.length === 0 && <p class="small">{t("tabNone")}</p>}
      <ul class="rows">
        {stored.value.map((one) => (
          <li key={one.name} class="row is-shown">
            <span class="tab-name">
              {one.name} <span class="small">{bytes(one.bytes)}</span>
            </span>
            <button type="button" class="button quiet" onClick={() => void open(one.name, one.name)}>
              {t("tabOpen")}
            </button>
            <IconButton icon="bin" label={t("delete")} onClick={() => setDoomed(one.name)} />
          </li>
        ))}
      </ul>
      {doomed !== undefined && (
        <Confirm question={t("tabDeleteSure", { title: doomed })} onYes={() => void forget(doomed)} onClose={() => setDoomed(undefined)} />
      )}
    </section>
  );
}
