// The Hub's HTTP from a server that is broken or means harm: each case by its id in the list of hazards, each ending in the right file or in an error that
// leaves nothing under a final name.

import * as fs from "node:fs";
import type { OutgoingHttpHeaders } from "node:http";
import * as path from "node:path";
import { gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import { ConfigError, FormatError, RequestError } from "../../src/core/errors.ts";
import { parseHubName } from "../../src/formats/hub-names.ts";
import { isInnerAddress, isInnerHost } from "../../src/platform/hub/addresses.ts";
import { findCached } from "../../src/platform/hub/cache.ts";
import { followed } from "../../src/platform/hub/http.ts";
import { type Pulled, pullModel } from "../../src/platform/hub/pull.ts";
import type { HubSettings } from "../../src/platform/hub/settings.ts";
import { blobsOf, expectTidy, filesBelow, hubPlace, noise, tinyModel } from "./hub-place.ts";
import { breakAfter, type Fault, hubHeaders, send, sha256 } from "./hub-server.ts";

const place = hubPlace();
const name = parseHubName("hf:org/tiny");
const weights = "model.safetensors";
const bytes = noise(20_000, 1);
const token = "hf_secret";

beforeEach(() => {
  place.server.add("org/tiny", tinyModel());
});

/** A fault at the store, in the answer for the weights. */
function atStore(fault: Fault): void {
  place.server.fault = (asked) => (asked.request.at === "store" ? fault(asked) : false);
}

function atHub(fault: Fault): void {
  place.server.fault = (asked) => (asked.request.at === "hub" && asked.request.path.endsWith(weights) ? fault(asked) : false);
}

async function expectRight(more: Partial<HubSettings> = {}): Promise<Pulled> {
  const pulled = await pullModel({ ...place.settings, ...more }, name);
  expect(fs.readFileSync(path.join(pulled.path, weights)).equals(bytes)).toBe(true);
  expect(filesBelow(blobsOf(place.cache, "org/tiny")).filter((file) => file.endsWith(".incomplete"))).toEqual([]);
  expectTidy(place.cache, "org/tiny");
  return pulled;
}

/** Refused: the weights have no name, the cache no model, and the token stands nowhere. */
async function expectRefused(
  kind: typeof ConfigError | typeof FormatError | typeof RequestError,
  text: RegExp,
  more: Partial<HubSettings> = {},
): Promise<void> {
  const thrown = await pullModel({ ...place.settings, ...more }, name).catch((error: unknown) => error);
  expect(thrown).toBeInstanceOf(kind);
  expect(String(thrown)).toMatch(text);
  expect(String(thrown)).not.toContain(token);
  expect(fs.existsSync(path.join(blobsOf(place.cache, "org/tiny"), sha256(bytes)))).toBe(false);
  expect(filesBelow(place.cache).filter((file) => file.endsWith(`/${weights}`))).toEqual([]);
  expect(await findCached(place.settings, name)).toBeUndefined();
  expectTidy(place.cache, "org/tiny");
}

describe("H15: what the server calls a hash", () => {
  test.each(["../../../evil", "/etc/evil", "a/b", "", "..", "A".repeat(64), "0".repeat(63), "x".repeat(64), 7, null])(
    "refused in the list: %j",
    async (oid) => {
      place.server.tamper = (entries) => entries.map((entry) => (entry.lfs ? { ...entry, lfs: { oid, size: bytes.length } } : entry));
      await expectRefused(FormatError, /40 or 64 hexadecimal digits/);
    },
  );

  test.each(["../../evil", '"../../evil"', '"a/b"', 'W/".."', '"x"'])("refused in a header: %s", async (etag) => {
    atHub(({ response, bytes: file }) => {
      response.writeHead(200, { ...hubHeaders(file as Buffer, "", true), "x-linked-etag": etag }).end(file);
      return true;
    });
    await expectRefused(FormatError, /the etag/);
  });

  test("a plain etag names nothing", async () => {
    atHub(({ response, bytes: file }) => {
      response.writeHead(200, { etag: '"../../evil"' }).end(file);
      return true;
    });
    await expectRight();
  });
});

test.each([-1, 1.5, 2 ** 53, "7", null, 1e300])("a list with a file of %j bytes is refused", async (size) => {
  place.server.tamper = (entries) => entries.map((entry) => (entry.path === "config.json" ? { ...entry, size } : entry));
  await expectRefused(FormatError, /40 or 64 hexadecimal digits|JSON/);
});

test("a list that is no list, names a file twice, or is JSON only by JSON.parse is refused", async () => {
  place.server.tamper = (entries) => [...entries, entries[0]];
  await expectRefused(FormatError, /".gitattributes" twice|"README.md" twice/);
  const answers = [
    "{",
    '[{"type":"file","type":"file"}]',
    "[".repeat(100_000),
    "",
    "<html>",
    "null",
    "{}",
    "[null]",
    "[1]",
    '"x"',
    '[{"type":"file","path":"config.json"}]',
  ];
  for (const [part, answer] of [
    ...answers.map((text) => ["/tree/", text]),
    ...["null", "[]", "1", "{}", '{"sha":"x"}', '{"sha":7}'].map((text) => ["/revision/", text]),
  ]) {
    place.server.fault = ({ request, response }) => {
      if (request.path.includes(part as string)) response.writeHead(200).end(answer);
      return request.path.includes(part as string);
    };
    await expectRefused(FormatError, /JSON|commit|a list of files|about a model|hexadecimal/);
  }
});

describe("H16: the next page of a list", () => {
  test.each([
    "/api/models/org/tiny/../../../secret",
    "/api/models/other/tiny/tree/main",
    "https://evil.example/api/models/org/tiny/tree/main",
  ])("refused: %s", async (next) => {
    const { server } = place;
    server.fault = ({ request, response }) => {
      if (!request.path.includes("/tree/")) return false;
      response.writeHead(200, { link: `<${next.startsWith("http") ? next : server.endpoint + next}>; rel="next"` }).end("[]");
      return true;
    };
    await expectRefused(FormatError, /a next page at/, { token });
    expect(server.requests.every(({ path: asked }) => asked.startsWith("/api/models/org/tiny/"))).toBe(true);
  });

  test("refused: pages without end", async () => {
    const { server } = place;
    server.fault = ({ request, response }) => {
      if (request.path.includes("/tree/"))
        response.writeHead(200, { link: `<${server.endpoint}${request.path}?n=${request.count}>; rel="next"` }).end("[]");
      return request.path.includes("/tree/");
    };
    await expectRefused(FormatError, /more than 500 pages/);
  });
});

test("H17: the token goes to the Hub and to nobody else, not even after a redirect home", async () => {
  await expectRight({ token });
  const { requests } = place.server;
  expect(requests.filter(({ at }) => at === "hub").every((request) => request.token === `Bearer ${token}`)).toBe(true);
  expect(requests.filter(({ at }) => at === "store").map((request) => request.token)).toEqual([undefined]);
  fs.rmSync(path.join(place.cache, "models--org--tiny"), { recursive: true });
  requests.length = 0;
  atStore(({ response, request }) => {
    response.writeHead(302, { location: `${place.server.endpoint}${request.path}?again` }).end();
    return true;
  });
  await expectRefused(RequestError, /redirects/, { token });
  const [first, ...later] = place.server.asked("hub", weights);
  expect(first?.token).toBe(`Bearer ${token}`);
  expect(later.length).toBeGreaterThan(2);
  expect(later.every((request) => request.token === undefined)).toBe(true);
});

describe("H18: a redirect into a private network", () => {
  const inner = [
    "127.0.0.1",
    "127.8.9.10",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "nonsense",
  ];
  test.each(inner)("%s is an inner address", (address) => expect(isInnerAddress(address)).toBe(true));
  test.each(["8.8.8.8", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])("%s is not", (address) =>
    expect(isInnerAddress(address)).toBe(false),
  );

  test.each(["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "017700000001", "127.1", "localhost"])(
    "refused from the internet: %s",
    async (host) => {
      const { storePort } = place.server;
      atHub(({ response, request }) => {
        response.writeHead(302, { location: `http://${host}:${storePort}${request.raw}` }).end();
        return true;
      });
      // Another name of the same server, said to be on the internet.
      const endpoint = host === "localhost" ? place.server.endpoint : place.server.endpoint.replace("127.0.0.1", "localhost");
      await expectRefused(RequestError, /a redirect to .*, inside this network/, { endpoint, isLocal: false, token });
      expect(place.server.asked("store", weights)).toEqual([]);
    },
  );

  test("accepted when the Hub itself is in there", async () => {
    expect(await isInnerHost("127.0.0.1")).toBe(true);
    expect(await isInnerHost("localhost")).toBe(true);
    expect(await isInnerHost("8.8.8.8")).toBe(false);
    await expectRight();
  });
});

test("H19: redirects without end are refused after ten", async () => {
  atHub(({ response, request }) => {
    response.writeHead(307, { location: request.path }).end();
    return true;
  });
  await expectRefused(RequestError, /more than 10 redirects/);
  expect(place.server.asked("hub", weights)).toHaveLength(11);
});

test("H20: https to http is refused, http to https and https to https are not", () => {
  const to = (from: string, location: string) => followed("fetch", new URL(from), location).href;
  for (const location of ["http://cdn.example/x", "HTTP://hub.example/x"])
    expect(() => to("https://hub.example/a", location)).toThrow(RequestError);
  expect(to("https://hub.example/a/b", "//cdn.example/x")).toBe("https://cdn.example/x");
  expect(to("https://hub.example/a/b", "../c")).toBe("https://hub.example/c");
  expect(to("http://hub.example/a", "https://cdn.example/x")).toBe("https://cdn.example/x");
});

test("H20 and others: redirects to other schemes, to a name with a password, to nowhere are refused", async () => {
  for (const location of [
    "file:///etc/passwd",
    "ftp://x.example/",
    "javascript:1",
    "data:,x",
    "http://user:pass@x.example/",
    "http://[bad",
  ]) {
    atHub(({ response }) => {
      response.writeHead(302, { location }).end();
      return true;
    });
    await expectRefused(RequestError, /a redirect to/);
  }
});

test("H21: a Content-Length that differs from the list is refused, whatever the body", async () => {
  for (const length of [10_000_000_000, bytes.length + 1, bytes.length - 1]) {
    atStore(({ response }) => {
      response.writeHead(200, { "content-length": length });
      response.write(bytes.subarray(0, 10), () => response.destroy());
      return true;
    });
    await expectRefused(FormatError, new RegExp(`"${length}" bytes; expected 20000 bytes`));
  }
});

test("H22: of a body without end only the listed size is read", async () => {
  let sent = 0;
  atStore(({ response }) => {
    response.writeHead(200);
    response.write(bytes);
    const more = () => {
      while (!response.destroyed && response.write(noise(60_000))) sent += 60_000;
    };
    response.on("drain", more);
    more();
    return true;
  });
  await expectRight();
  expect(sent).toBeLessThan(20_000_000);
});

test("H23: a connection that stalls or drips is cut, tried again, and given up after a bounded time", async () => {
  atStore(({ request, response, bytes: file }) => {
    if (request.count > 1) return false;
    response.writeHead(200, { "content-length": (file as Buffer).length });
    response.write(bytes.subarray(0, 9000));
    return true;
  });
  await expectRight();
  expect(place.server.asked("store", weights).map(({ range }) => range)).toEqual([undefined, "bytes=9000-"]);
  fs.rmSync(path.join(place.cache, "models--org--tiny"), { recursive: true });
  const timers: NodeJS.Timeout[] = [];
  atStore(({ response, request }) => {
    const from = Number(/\d+/.exec(request.range ?? "0")?.[0]);
    response.writeHead(from > 0 ? 206 : 200, from > 0 ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {});
    let at = from;
    timers.push(setInterval(() => response.write(bytes.subarray(at, ++at)), 100));
    return true;
  });
  const { patience } = place.settings;
  const start = performance.now();
  await expectRefused(RequestError, /\d bytes in 0.25 seconds, after 4 attempts/, { patience: { ...patience, progressBytes: 1000 } });
  expect(performance.now() - start).toBeLessThan(3000);
  for (const timer of timers) clearInterval(timer);
  place.server.fault = () => true; // no answer at all
  await expectRefused(RequestError, /0 bytes in 0.25 seconds/, { patience: { ...patience, tries: 2 } });
});

test("H24: packed content is refused unopened", async () => {
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  for (const where of ["/main", "config.json", weights]) {
    place.server.fault = ({ request, response }) => {
      if (!request.path.endsWith(where)) return false;
      response.writeHead(200, { "content-encoding": "gzip", "content-length": bomb.length }).end(bomb);
      return true;
    };
    await expectRefused(FormatError, /content packed as "gzip"/);
  }
});

test("H25: a server that answers a Range with everything, or finds it out of range, still ends in the right file", async () => {
  atStore(({ request, response }) => {
    if (request.count === 1) breakAfter(response, bytes, undefined, 7000);
    else send(response, bytes, undefined);
    return true;
  });
  await expectRight();
  fs.rmSync(path.join(place.cache, "models--org--tiny"), { recursive: true });
  place.server.requests.length = 0;
  atStore(({ request, response }) => {
    if (request.count === 1) breakAfter(response, bytes, undefined, 7000);
    else if (request.range !== undefined) response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    else send(response, bytes, undefined);
    return true;
  });
  await expectRight();
  expect(place.server.asked("store", weights).map(({ range }) => range)).toEqual([undefined, "bytes=7000-", undefined]);
});

test("H25: one that starts afresh and breaks at the same point each time does not keep us", async () => {
  atStore(({ response }) => {
    breakAfter(response, bytes, undefined, 7000);
    return true;
  });
  await expectRefused(RequestError, /after 4 attempts/);
  expect(place.server.asked("store", weights).length).toBeLessThan(10);
});

test("H26: a range that is off by one is found by its header, or by the hash", async () => {
  for (const honest of [true, false]) {
    place.server.requests.length = 0;
    atStore(({ request, response }) => {
      if (request.count === 1) breakAfter(response, bytes, undefined, 7000);
      else if (request.range === undefined) send(response, bytes, undefined);
      else {
        const from = Number(/\d+/.exec(request.range)?.[0]);
        const said = honest ? from - 1 : from;
        response.writeHead(206, { "content-range": `bytes ${said}-${bytes.length - 1}/${bytes.length}` }).end(bytes.subarray(from - 1));
      }
      return true;
    });
    await expectRight();
    expect(place.server.asked("store", weights).at(-1)?.range).toBeUndefined();
    fs.rmSync(path.join(place.cache, "models--org--tiny"), { recursive: true });
  }
});

describe("H27: wrong bytes", () => {
  test("refused and left as .incomplete; the next pull starts afresh and gets it right", async () => {
    const wrong = Buffer.from(bytes);
    wrong[12_345] = (wrong[12_345] as number) ^ 1;
    atStore(({ response }) => {
      send(response, wrong, undefined);
      return true;
    });
    await expectRefused(FormatError, new RegExp(`bytes with another hash, left in .*incomplete.*; expected ${sha256(bytes)}`));
    expect(filesBelow(blobsOf(place.cache, "org/tiny"))).toContain(`${sha256(bytes)}.incomplete`);
    place.server.fault = undefined;
    await expectRight();
  });

  test("refused for a small file too, by git's hash", async () => {
    place.server.fault = ({ request, response }) => {
      if (!request.path.endsWith("config.json")) return false;
      response.writeHead(200).end('{"model_type":"LLAMA"}');
      return true;
    };
    await expectRefused(FormatError, /another hash/);
  });

  test("refused when the Hub's own header gives another size", async () => {
    atHub(({ request, response }) => {
      response.writeHead(302, { "x-linked-size": "10", location: `http://127.0.0.1:${place.server.storePort}${request.raw}` }).end();
      return true;
    });
    await expectRefused(FormatError, /a size of "10"; expected 20000 bytes/);
  });

  test("what an earlier run left is read again: a damaged or too long part does no harm", async () => {
    const blobs = blobsOf(place.cache, "org/tiny");
    fs.mkdirSync(blobs, { recursive: true });
    for (const left of [bytes.subarray(0, 11_111), noise(11_111, 9), noise(30_000, 9), bytes, noise(20_000, 9)]) {
      fs.rmSync(path.join(place.cache, "models--org--tiny", "snapshots"), { recursive: true, force: true });
      fs.rmSync(path.join(blobs, sha256(bytes)), { force: true });
      fs.writeFileSync(path.join(blobs, `${sha256(bytes)}.incomplete`), left);
      place.server.requests.length = 0;
      await expectRight();
      const asked = place.server.asked("store", weights).map(({ range }) => range);
      if (left.length === 11_111) expect(asked[0]).toBe("bytes=11111-");
      if (left === bytes) expect(asked).toEqual([]);
    }
  });

  test("H12: a link planted as .incomplete is not written through, one planted as the blob is replaced", async () => {
    const blobs = blobsOf(place.cache, "org/tiny");
    fs.mkdirSync(blobs, { recursive: true });
    const outside = path.join(fs.mkdtempSync(`${place.cache}-outside-`), "victim");
    fs.writeFileSync(outside, noise(20_000, 9));
    fs.symlinkSync(outside, path.join(blobs, `${sha256(bytes)}.incomplete`));
    await expectRefused(ConfigError, /symbolic links/);
    fs.rmSync(path.join(blobs, `${sha256(bytes)}.incomplete`));
    fs.symlinkSync(outside, path.join(blobs, sha256(bytes)));
    await expectRight();
    expect(fs.readFileSync(outside).equals(noise(20_000, 9))).toBe(true);
    fs.rmSync(path.dirname(outside), { recursive: true });
  });
});

describe("statuses", () => {
  const answer = (status: number, headers: OutgoingHttpHeaders = {}): void => {
    place.server.fault = ({ request, response }) => {
      if (request.at !== "hub" || !request.path.endsWith(weights)) return false;
      response.writeHead(status, headers).end("no");
      return true;
    };
  };

  test("401, 403, 404 say what to do and are not tried again", async () => {
    answer(401, { "x-error-code": "GatedRepo", "x-error-message": "Access is restricted\u009b2J" });
    await expectRefused(
      ConfigError,
      /status 401 \(GatedRepo: Access is restricted\\u009b2J\).*accept its conditions at http:.*\/org\/tiny if it has any, and set HF_TOKEN/,
    );
    answer(403);
    await expectRefused(ConfigError, /status 403; .*; check HF_TOKEN/, { token });
    answer(404, { "x-error-code": "EntryNotFound" });
    await expectRefused(ConfigError, /status 404 \(EntryNotFound\)/);
    answer(418);
    await expectRefused(RequestError, /status 418/);
    expect(place.server.asked("hub", weights)).toHaveLength(4);
  });

  test("a repository that is not there is told", async () => {
    place.server.repositories.clear();
    await expectRefused(ConfigError, /ask the Hub for hf:org\/tiny: got status 404 \(RepoNotFound\)/);
  });

  test("429 and 5xx are waited for, as long as they ask, within bounds", async () => {
    const { server } = place;
    for (const [status, headers] of [
      [429, { "retry-after": "1" }],
      [500, {}],
      [503, {}],
      [408, {}],
    ] as const) {
      server.requests.length = 0;
      server.fault = ({ request, response }) => {
        if (!request.path.endsWith(weights) || request.at !== "hub" || request.count > 1) return false;
        response.writeHead(status, headers).end();
        return true;
      };
      const start = performance.now();
      await expectRight();
      if (status === 429) expect(performance.now() - start).toBeGreaterThan(900);
      fs.rmSync(path.join(place.cache, "models--org--tiny"), { recursive: true });
    }
    answer(429, { "retry-after": "3600" });
    await expectRefused(RequestError, /status 429; expected an answer; try again in 3600 s/);
    answer(503);
    await expectRefused(RequestError, /status 503, after 4 attempts/);
  });

  test("nobody at the address: an error after a few attempts", async () => {
    const start = performance.now();
    await expectRefused(RequestError, /ECONNREFUSED.*check the connection/, { endpoint: "http://127.0.0.1:9" });
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

test("connections that break at 40 random points: each time the rest is asked for, and the file is right", async () => {
  let random = 42;
  const next = (limit: number) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % limit;
  };
  const points: number[] = [];
  atStore(({ request, response }) => {
    if (points.length === 40) return false;
    const from = Number(/\d+/.exec(request.range ?? "0")?.[0]);
    const count = 1 + next(Math.min(900, bytes.length - from - 1));
    points.push(from + count);
    breakAfter(response, bytes, request.range, count);
    return true;
  });
  await expectRight();
  const asked = place.server.asked("store", weights).map(({ range }) => Number(/\d+/.exec(range ?? "0")?.[0]));
  expect(asked).toHaveLength(41);
  for (const [i, from] of asked.slice(1).entries()) expect(from).toBeLessThanOrEqual(points[i] as number);
  expect(asked).toEqual([...asked].sort((a, b) => a - b));
  expect(asked.at(-1)).toBeGreaterThan(5000);
});
