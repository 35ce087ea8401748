// What the environment says: where the cache lies, which token, which endpoint; and that a token is never shown.

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { hubSettings } from "../../src/platform/hub/settings.ts";

const home = fs.mkdtempSync(path.join(tmpdir(), "gradually-home-"));
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const read = (env: Record<string, string>) => hubSettings((name) => env[name], home);

test.each<[Record<string, string>, string]>([
  [{}, path.join(home, ".cache/huggingface/hub")],
  [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
  [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, "/h/hub"],
  [{ HF_HOME: "~/h" }, path.join(home, "h/hub")],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/c" }, "/c"],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/c", HF_HUB_CACHE: "/d/" }, "/d"],
  [{ HF_HOME: "", HF_HUB_CACHE: " " }, path.join(home, ".cache/huggingface/hub")],
])("%j keeps models in %s", async (env, cache) => {
  expect((await read(env)).cache).toBe(path.resolve(cache));
});

test("the token: HF_TOKEN, then the file that the login writes; trimmed; or none", async () => {
  expect((await read({})).token).toBeUndefined();
  const hfHome = path.join(home, "hf");
  fs.mkdirSync(hfHome);
  fs.writeFileSync(path.join(hfHome, "token"), "hf_file\n");
  expect((await read({ HF_HOME: hfHome })).token).toBe("hf_file");
  expect((await read({ HF_HOME: hfHome, HF_TOKEN: " hf_env \n" })).token).toBe("hf_env");
  expect((await read({ HF_HOME: hfHome, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).token).toBeUndefined();
  fs.writeFileSync(path.join(home, "other"), "hf_other");
  expect((await read({ HF_HOME: hfHome, HF_TOKEN_PATH: "~/other" })).token).toBe("hf_other");
  for (const token of ["two words", "hf_x\r\nX-Evil: 1", "hf_ü"]) {
    const thrown = await read({ HF_TOKEN: token }).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ConfigError);
    expect(String(thrown)).not.toContain(token.slice(0, 4));
  }
});

test("the endpoint: an address, without the slash at its end, and without a password", async () => {
  expect((await read({})).endpoint).toBe("https://huggingface.co");
  expect((await read({ HF_ENDPOINT: "https://mirror.example/hf//" })).endpoint).toBe("https://mirror.example/hf");
  for (const endpoint of ["mirror.example", "ftp://x", "https://user:geheim@x.example", "https://x.example/?a=1", "https://x.example/#a"]) {
    await expect(read({ HF_ENDPOINT: endpoint })).rejects.toThrow(/read HF_ENDPOINT/);
    await expect(read({ HF_ENDPOINT: endpoint })).rejects.not.toThrow(/geheim/);
  }
});

test("offline is what the Hub's own tools take for it", async () => {
  for (const on of ["1", "ON", "yes", "True"]) expect((await read({ HF_HUB_OFFLINE: on })).offline).toBe(true);
  for (const off of ["", "0", "no", "false"]) expect((await read({ HF_HUB_OFFLINE: off })).offline).toBe(false);
  expect((await read({ TRANSFORMERS_OFFLINE: "1" })).offline).toBe(true);
});
