// An empty place: what belongs here and how to get it.

import type { ComponentChildren } from "preact";

type Props = { readonly title: string; readonly text?: string; readonly children?: ComponentChildren };

export function Empty({ title, text, children }: Props) {
  return (
    <section class="empty">
      <h1>{title}</h1>
      {text && <p>{text}</p>}
      {children}
    </section>
  );
}
