// Language, colours, shortcuts: at the foot of the side bar.

import { type Language, language, type Theme, theme } from "../state/settings.ts";
import { t } from "../words/words.ts";
import { IconButton } from "./icon-button.tsx";

export function Preferences({ onHelp }: { readonly onHelp: () => void }) {
  return (
    <div class="preferences">
      <select
        aria-label={t("language")}
        title={t("language")}
        value={language.value}
        onChange={(event) => {
          language.value = event.currentTarget.value as Language;
        }}
      >
        <option value="en" lang="en">
          English
        </option>
        <option value="zh-Hant" lang="zh-Hant">
          繁體中文
        </option>
      </select>
      <select
        aria-label={t("theme")}
        title={t("theme")}
        value={theme.value}
        onChange={(event) => {
          theme.value = event.currentTarget.value as Theme;
        }}
      >
        <option value="system">{t("themeSystem")}</option>
        <option value="light">{t("themeLight")}</option>
        <option value="dark">{t("themeDark")}</option>
      </select>
      <IconButton icon="help" label={t("shortcuts")} onClick={onHelp} />
    </div>
  );
}
