// Asks before something that cannot be undone.

import { t } from "../words/words.ts";
import { Dialog } from "./dialog.tsx";

type Props = {
  readonly question: string;
  /** What is to be done, on the button too. */
  readonly title?: string;
  readonly onYes: () => void;
  readonly onClose: () => void;
};

export function Confirm({ question, title = t("delete"), onYes, onClose }: Props) {
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{question}</p>
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onClose}>
          {t("cancel")}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            onYes();
            onClose();
          }}
        >
          {title}
        </button>
      </div>
    </Dialog>
  );
}
