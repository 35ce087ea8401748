// The settings of sampling. An empty field leaves it to the model's own files. Numbers out of range are not taken over.

import { useId } from "preact/hooks";
import { type Generation, generation } from "../state/settings.ts";
import { Dialog } from "../ui/dialog.tsx";
import { t, type WordName } from "../words/words.ts";

type Field = {
  readonly key: Exclude<keyof Generation, "system">;
  readonly name: WordName;
  readonly help: WordName;
  readonly least: number;
  readonly most: number;
  readonly step: number;
};

/** The ranges are those of the server's schemas. */
const fields: readonly Field[] = [
  { key: "temperature", name: "temperature", help: "temperatureHelp", least: 0, most: 2, step: 0.05 },
  { key: "topP", name: "topP", help: "topPHelp", least: 0.01, most: 1, step: 0.01 },
  { key: "topK", name: "topK", help: "topKHelp", least: 0, most: 1_000_000, step: 1 },
  { key: "minP", name: "minP", help: "minPHelp", least: 0, most: 1, step: 0.01 },
  { key: "repetitionPenalty", name: "repetition", help: "repetitionHelp", least: 0.01, most: 10, step: 0.01 },
  { key: "maxTokens", name: "maxTokens", help: "maxTokensHelp", least: 1, most: 1_000_000, step: 1 },
  { key: "seed", name: "seed", help: "seedHelp", least: 0, most: 4_294_967_295, step: 1 },
];

export function SamplingDialog({ onClose }: { readonly onClose: () => void }) {
  const id = useId();
  const set = (key: keyof Generation, value: number | string | undefined) => {
    const { [key]: _, ...rest } = generation.value;
    generation.value = value === undefined ? rest : { ...rest, [key]: value };
  };
  return (
    <Dialog title={t("settings")} onClose={onClose}>
      <p class="small">{t("settingsText")}</p>
      <div class="fields">
        {fields.map(({ key, name, help, least, most, step }) => (
          <label key={key} class="field" for={`${id}-${key}`}>
            <span>{t(name)}</span>
            <input
              id={`${id}-${key}`}
              type="number"
              inputMode="decimal"
              min={least}
              max={most}
              step={step}
              value={generation.value[key] ?? ""}
              aria-describedby={`${id}-${key}-help`}
              onChange={(event) => {
                const { value } = event.currentTarget;
                const number = Number(value);
                if (value === "") set(key, undefined);
                else if (number >= least && number <= most && (step < 1 || Number.isInteger(number))) set(key, number);
                else event.currentTarget.value = String(generation.value[key] ?? "");
              }}
            />
            <span class="small" id={`${id}-${key}-help`}>
              {t(help)}
            </span>
          </label>
        ))}
        <label class="field is-wide" for={`${id}-system`}>
          <span>{t("system")}</span>
          <textarea
            id={`${id}-system`}
            rows={3}
            value={generation.value.system ?? ""}
            aria-describedby={`${id}-system-help`}
            onChange={(event) => set("system", event.currentTarget.value.trim() || undefined)}
          />
          <span class="small" id={`${id}-system-help`}>
            {t("systemHelp")}
          </span>
        </label>
      </div>
      <div class="dialog-actions">
        <button
          type="button"
          class="button"
          onClick={() => {
            generation.value = {};
          }}
        >
          {t("reset")}
        </button>
        <button type="button" class="button primary" onClick={(event) => event.currentTarget.closest("dialog")?.close()}>
          {t("done")}
        </button>
      </div>
    </Dialog>
  );
}
