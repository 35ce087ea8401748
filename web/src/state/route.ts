// Where the page is: #/chat/ID, #/runs/NAME, #/lab. In: the address. Out: a signal. Hashes, since a static site has one page.

import { signal } from "@preact/signals";

export type View = "chat" | "runs" | "lab";
export type Route = { readonly view: View; readonly item?: string };

export const route = signal<Route>(read());
addEventListener("hashchange", () => {
  route.value = read();
});

function read(): Route {
  const [, view, item] = /^#\/(chat|runs|lab)(?:\/([^/]+))?$/.exec(location.hash) ?? [];
  if (view === undefined) return { view: "chat" };
  let name: string | undefined;
  try {
    name = item === undefined ? undefined : decodeURIComponent(item);
  } catch {
    // A hash that somebody broke: the view without an item.
  }
  return { view: view as View, ...(name !== undefined && { item: name }) };
}

export function href(view: View, item?: string): string {
  return `#/${view}${item === undefined ? "" : `/${encodeURIComponent(item)}`}`;
}

export function go(view: View, item?: string): void {
  location.hash = href(view, item);
}
