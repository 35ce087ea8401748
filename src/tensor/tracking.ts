// Whether ops record a tape right now. A file of its own because both tensor.ts (scopes) and autograd.ts ask.

import { DeviceError } from "../core/errors.ts";

let tracking = false;

export function isTrackingGradients(): boolean {
  return tracking;
}

/** Records a tape while `body` runs. Must lie inside a scope that frees what the tape held. `body` must not be async: recording never waits. */
export function trackGradients<T>(body: () => T): T {
  return refusePromise("trackGradients", withTracking(true, body));
}

export function noGradients<T>(body: () => T): T {
  return withTracking(false, body);
}

/** An async body would go on after its scope (or its tape) has ended: a silent error, so it is made a loud one. */
export function refusePromise<T>(operation: string, result: T): T {
  if (result instanceof Promise) {
    result.catch(() => {}); // the error below says more
    throw new DeviceError({
      operation,
      got: "a body that returned a promise",
      expected: "a body that only records",
      cure: "return the tensors and read them afterwards",
    });
  }
  return result;
}

function withTracking<T>(on: boolean, body: () => T): T {
  const before = tracking;
  tracking = on;
  try {
    return body();
  } finally {
    tracking = before;
  }
}
