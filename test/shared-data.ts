// Where the third-party fixtures lie: $GRADUALLY_SHARED/data, or ../shared/data beside the checkout. `sharedData` is
// undefined, and says so loudly, where they are absent; tests then skip.

import { existsSync } from "node:fs";
import * as path from "node:path";

const candidate = path.join(process.env.GRADUALLY_SHARED ?? path.join(import.meta.dirname, "../../shared"), "data");

export const sharedData: string | undefined = existsSync(candidate) ? candidate : undefined;

if (!sharedData) console.warn(`SKIPPED: tests of third-party models and tokenizers, because ${candidate} is absent (set GRADUALLY_SHARED)`);
