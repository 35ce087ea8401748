// Which keys do what in a field. An input method (Chinese, Japanese, Korean) uses Enter to choose a word: that must not send.

export function isSending(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.altKey && !isComposing(event);
}

export function isComposing(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === 229;
}
