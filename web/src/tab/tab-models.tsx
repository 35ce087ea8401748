// Placeholder until the browser door is merged.
export function TabModels() {
  return null;
}
