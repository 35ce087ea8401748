// The three views.

import { href, route, type View } from "../state/route.ts";
import { t } from "../words/words.ts";
import { Icon } from "./icon.tsx";

export const views: readonly View[] = ["chat", "runs", "lab"];

export function Navigation() {
  return (
    <nav class="views">
      {views.map((view) => (
        <a key={view} href={href(view)} {...(route.value.view === view && { "aria-current": "page" })}>
          <Icon name={view} />
          {t(view)}
        </a>
      ))}
    </nav>
  );
}
