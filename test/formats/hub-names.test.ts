// Names, URLs and the choice of files, without a network. Hazards H14 and H16, and a property: no name leads out of its prefix.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { chooseFiles, splitParts } from "../../src/formats/hub-files.ts";
import {
  cacheFolderOf,
  fileUrl,
  isHubName,
  isPlainPath,
  isWithin,
  parseHubName,
  repositoryOf,
  showHubName,
} from "../../src/formats/hub-names.ts";

test.each([
  ["hf:org/name", "org/name", "main", undefined],
  ["hf://org/name", "org/name", "main", undefined],
  ["hf.co/org/name:Q4_K_M", "org/name", "main", "Q4_K_M"],
  ["https://huggingface.co/deepseek-ai/DeepSeek-V2-Lite", "deepseek-ai/DeepSeek-V2-Lite", "main", undefined],
  ["hf:org/name@refs/pr/3", "org/name", "refs/pr/3", undefined],
  ["hf:org/name@v1.0:sub/a-Q8_0.gguf", "org/name", "v1.0", "sub/a-Q8_0.gguf"],
])("%s is read", (text, repository, revision, selector) => {
  expect(isHubName(text)).toBe(true);
  expect(parseHubName(text)).toEqual({ repository, revision, ...(selector && { selector }) });
  expect(parseHubName(showHubName(parseHubName(text)))).toEqual(parseHubName(text));
});

test.each([
  "../x",
  "a/b/c",
  "a",
  "",
  "/b",
  "a/",
  "a/../b",
  "..",
  "a/..",
  "a/b?x=1",
  "a/b#x",
  "o@x/b",
  "a/b c",
  "a/b\\c",
  "a/%2e%2e",
  "a/b--c",
  "a/b..c",
  "-a/b",
  "a/.b",
  "a/b.git",
  "ａ/b",
  "a/．．",
  "a/b\0",
  "a/b\n",
  `a/${"x".repeat(97)}`,
])("H14 refused: the repository %j", (repository) => {
  expect(() => parseHubName(`hf:${repository}`)).toThrow(ConfigError);
});

test.each([
  "a/b@",
  "a/b@..",
  "a/b@x/../y",
  "a/b@/x",
  "a/b@x//y",
  "a/b@x?y",
  "a/b@x#y",
  "a/b@x%2f",
  "a/b@.git",
  "a/b@x.lock",
  `a/b@${"x".repeat(300)}`,
])("H14 refused: the revision of %j", (text) => {
  expect(() => parseHubName(`hf:${text}`)).toThrow(/a branch, tag or commit after @/);
});

test.each([
  ":",
  ":../x",
  ":/etc/passwd",
  ":a/../../b",
  ":a//b",
  ":C:\\x",
  ":CON",
  ":aux.gguf",
  ":a/nul.txt",
  ":a\\b",
  ":%2e%2e/x",
  ":．．/x",
  ":.hidden",
  ":a.",
  ":a\0b",
])("H01 to H10 refused: the file of hf:a/b%s", (text) => {
  expect(() => parseHubName(`hf:a/b${text}`)).toThrow(/a file or a quantisation/);
});

test("a folder of the cache is one repository's, and others are nobody's", () => {
  expect(cacheFolderOf("org/na-me.v1")).toBe("models--org--na-me.v1");
  expect(repositoryOf("models--org--na-me.v1")).toBe("org/na-me.v1");
  for (const other of ["datasets--a--b", "models--a", "models--a--b--c", "models--..--b", ".locks", "blobs"])
    expect(repositoryOf(other)).toBeUndefined();
});

test("H16: whatever is accepted stays below its prefix; whatever is not would be seen", () => {
  const endpoint = "https://hub.example/mirror";
  const nasty = fc.array(fc.constantFrom("..", ".", "/", "%2e%2e", "%2f", "\\", "?", "#", "@", ":", "a", "b.gguf", "．", "\0", " "), {
    maxLength: 8,
  });
  fc.assert(
    fc.property(nasty, nasty, (first, second) => {
      const text = `hf:a/b@${first.join("")}:${second.join("")}`;
      let name: ReturnType<typeof parseHubName>;
      try {
        name = parseHubName(text);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(ConfigError);
        return;
      }
      const url = fileUrl(endpoint, name.repository, name.revision, name.selector ?? "x");
      expect(new URL(url).href.startsWith(`${endpoint}/a/b/resolve/`)).toBe(true);
      expect(new URL(url).pathname.split("/").length).toBe(5 + 1 + (name.selector ?? "x").split("/").length);
    }),
    { seed: 3, numRuns: 3000 },
  );
  expect(() => fileUrl(endpoint, "a/b", "c".repeat(40), "../../../../x/y")).toThrow(ConfigError);
  expect(isWithin(`${endpoint}/api/models/a/b/../../../other`, `${endpoint}/api/models/a/b/`)).toBe(false);
  expect(isWithin(`${endpoint}/api/models/a/b/%2e%2e/c`, `${endpoint}/api/models/a/b/`)).toBe(false);
  expect(isWithin("https://hub.example@evil.example/mirror/x", `${endpoint}/`)).toBe(false);
  expect(isWithin("https://u:p@hub.example/mirror/x", `${endpoint}/`)).toBe(false);
  expect(isWithin("http://hub.example/mirror/x", `${endpoint}/`)).toBe(false);
});

test("paths of a repository that are no paths here are not plain", () => {
  for (const path of ["a b", "ü", "a/../b", "/a", "a:b", "lpt1.txt", "x".repeat(300), Array.from({ length: 9 }, () => "a").join("/")])
    expect(isPlainPath(path)).toBe(false);
  for (const path of ["a", "_a-b+c.gguf", "console.json", "sub/dir/a.gguf"]) expect(isPlainPath(path)).toBe(true);
});

describe("the choice of files", () => {
  const name = (text = "hf:a/b") => parseHubName(text);

  test("safetensors before GGUF, one file before shards, weights last", () => {
    const paths = [
      "a-Q4_K_M.gguf",
      "model.safetensors",
      "model.safetensors.index.json",
      "config.json",
      "tokenizer.json",
      "x.py",
      "sub/config.json",
    ];
    expect(chooseFiles(paths, name())).toEqual({
      kind: "folder",
      files: ["config.json", "tokenizer.json", "model.safetensors"],
      sharded: false,
    });
    expect(chooseFiles(paths, name("hf:a/b:Q4_K_M"))).toEqual({ kind: "file", files: ["a-Q4_K_M.gguf"] });
    expect(chooseFiles(paths, name("hf:a/b:x.py"))).toEqual({ kind: "file", files: ["x.py"] });
    expect(chooseFiles(paths.slice(0, 1), name())).toEqual({ kind: "file", files: ["a-Q4_K_M.gguf"] });
    expect(chooseFiles(paths.slice(2), name()).kind).toBe("folder");
  });

  test("a tag is a whole word of the name, in either case", () => {
    const paths = ["m-Q4_K.gguf", "m-Q4_K_M.gguf", "m.f16.gguf", "BF16/m-BF16.gguf"];
    const chosen = (tag: string) => chooseFiles(paths, name(`hf:a/b:${tag}`)).files[0];
    expect(["q4_k", "Q4_K_M", "F16", "bf16"].map(chosen)).toEqual(paths);
    for (const tag of ["Q4", "Q4_", "4_K", "Q8_0"]) expect(() => chosen(tag)).toThrow(/no match/);
    expect(() => chooseFiles(["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], name())).toThrow(/several matches among a-Q4_K_M.gguf, b-Q4_K_M.gguf/);
  });

  test("a name that claims 99,999 parts costs nothing", () => {
    const start = performance.now();
    for (const first of ["a-Q8_0-00001-of-99999.gguf", "a-Q8_0-00001-of-00000.gguf"]) {
      const choose = () => chooseFiles([first], name("hf:a/b:Q8_0"));
      if (first.endsWith("99999.gguf")) expect(choose).toThrow(/no a-Q8_0-00002-of-99999.gguf/);
    }
    expect(performance.now() - start).toBeLessThan(100);
  });

  test("nothing to run is told apart", () => {
    expect(() => chooseFiles(["a.bin"], name())).toThrow(/pickles/);
    expect(() => chooseFiles(["adapter_model.safetensors"], name())).toThrow(/without config.json or index/);
    expect(() => chooseFiles([], name())).toThrow(/no model/);
    expect(() => chooseFiles(["config.json"], name("hf:a/b:Q4_0"))).toThrow(/without GGUF files/);
  });
});

test("any part of a split file names all of them; a claim of very many is refused", () => {
  expect(splitParts("m-00002-of-00003.gguf")).toEqual(["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
  expect(splitParts("m.gguf")).toEqual(["m.gguf"]);
  expect(() => splitParts("m-00001-of-99999.gguf")).toThrow(ConfigError);
});
