// A component that is fetched when it is first shown. In: how to fetch it. Out: a component that shows nothing until then, or what went wrong.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Notice } from "./notice.tsx";

export function later(load: () => Promise<ComponentType>): ComponentType {
  let loaded: ComponentType | undefined;
  return function Later() {
    const [, draw] = useState(0);
    const [failure, setFailure] = useState<string | undefined>(undefined);
    const fetch = () => {
      setFailure(undefined);
      load().then(
        (component) => {
          loaded = component;
          draw((n) => n + 1);
        },
        (error: unknown) => setFailure(String(error)),
      );
    };
    // once
    useEffect(() => {
      if (!loaded) fetch();
    }, []);
    if (failure !== undefined) return <Notice trouble={{ code: "unreachable", detail: failure }} onRetry={fetch} />;
    const Loaded = loaded;
    return Loaded ? <Loaded /> : null;
  };
}
