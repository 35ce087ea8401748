// Which model answers. One model needs no choice: its name is enough.

import { client, model, models } from "../state/app.ts";
import { modelName } from "../state/settings.ts";
import { t } from "../words/words.ts";

export function ModelPicker() {
  const chosen = model.value;
  if (!chosen) return null;
  const place = client.value?.place === "tab" ? <span class="tag">{t("inTab")}</span> : null;
  if (models.value.length < 2) {
    return (
      <span class="model" title={t("model")}>
        <span class="model-name">{chosen.name}</span>
        {place}
      </span>
    );
  }
  return (
    <span class="model">
      <select
        aria-label={t("model")}
        value={chosen.name}
        onChange={(event) => {
          modelName.value = event.currentTarget.value;
        }}
      >
        {models.value.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      {place}
    </span>
  );
}
