import { openReference } from "../../src/backend/reference/open.ts";
import { familySuite } from "./model-suite.ts";

familySuite("deepseek", "the reference device", () => openReference({ precision: "f32" }));
