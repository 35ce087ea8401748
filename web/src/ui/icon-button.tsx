// A button that shows a picture and has a name for everybody who does not see it.

import { Icon, type IconName } from "./icon.tsx";

type Props = {
  readonly icon: IconName;
  readonly label: string;
  /** Shown beside the picture, too. */
  readonly isWide?: boolean;
  readonly title?: string;
  readonly disabled?: boolean;
  readonly class?: string;
  readonly onClick: (event: MouseEvent) => void;
};

export function IconButton({ icon, label, isWide = false, title = label, disabled = false, class: more = "", onClick }: Props) {
  return (
    <button
      type="button"
      class={`${isWide ? "button quiet" : "icon-button"} ${more}`}
      {...(!isWide && { "aria-label": label })}
      title={title}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} />
      {isWide && <span>{label}</span>}
    </button>
  );
}
