// The side bar as a drawer, on a phone. In: whether it is open. Out: the keyboard goes into it when it opens and back to the menu's button when it closes;
// Escape closes it, before the same key stops an answer; a link in it closes it, also one to where one is, which changes no address.

import { useEffect, useRef } from "preact/hooks";

export function useDrawer(isOpen: boolean, close: () => void) {
  const side = useRef<HTMLElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (isOpen) side.current?.querySelector<HTMLElement>(".brand button")?.focus();
    else if (wasOpen.current) document.querySelector<HTMLElement>(".top button")?.focus();
    wasOpen.current = isOpen;
    if (!isOpen) return;
    const click = (event: MouseEvent) => {
      if (event.target instanceof Element && event.target.closest(".side a, .new-chat")) close();
    };
    const press = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      event.stopImmediatePropagation();
      close();
    };
    addEventListener("click", click);
    addEventListener("keydown", press, { capture: true });
    return () => {
      removeEventListener("click", click);
      removeEventListener("keydown", press, { capture: true });
    };
  }, [isOpen]);
  return side;
}
