import { openReference } from "../../src/backend/reference/open.ts";
import { llamaSuite } from "./model-suite.ts";

llamaSuite("the reference device", () => openReference({ precision: "f32" }));
