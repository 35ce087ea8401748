import { openReference } from "../../src/backend/reference/open.ts";
import { deepseekSuite } from "./model-suite.ts";

deepseekSuite("the reference device", () => openReference({ precision: "f32" }));
