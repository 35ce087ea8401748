// Models by name. In: what can be served and how to load it. Out: loaded models, lent for the time of a request. A model is loaded when it is first
// asked for; when memory is short the one used longest ago that nobody uses now is unloaded. Two requests share one loading.

import type { GrammarConstraint, Structure } from "../chat/grammar.ts";
import type { Chat } from "../chat/prompt.ts";
import type { ThinkTags } from "../chat/think-tags.ts";
import { quote } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import type { Engine } from "../engine/engine.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { Admission } from "./admission.ts";
import { Refusal } from "./refusal.ts";

/** What a loader gives: everything that answering needs. */
export type LoadedModel = {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly chat: Chat;
  /** How the model marks its reasoning, where it does. */
  readonly thinkTags?: ThinkTags;
  /** The files have no chat template: `chat` is a guess. */
  readonly isPlain?: boolean;
  /** It was trained on tasks of ours: a message is a problem, e.g. "3 5 7=22". */
  readonly isSolver?: boolean;
  /** generation_config.json over config.json: special ids and sampling defaults. */
  readonly generationConfig: JsonObject;
  /** Sequences that the engine computes at once. */
  readonly slots: number;
  constrain?(structure: Structure): Promise<GrammarConstraint>;
  close(): Promise<void>;
};

export type ModelEntry = {
  readonly name: string;
  /** Bytes of memory that it takes when loaded. */
  readonly bytes: number;
  /** Seconds since 1970. */
  readonly created: number;
  load(): Promise<LoadedModel>;
};

export type ServedModel = LoadedModel & {
  readonly name: string;
  readonly admission: Admission;
  /** Characters of the longest token. */
  readonly longestPiece: number;
};

export type Loan = { readonly model: ServedModel; giveBack(): void };

type Book = {
  readonly entry: ModelEntry;
  state: "away" | "loading" | "here" | "leaving";
  loading: Promise<ServedModel> | undefined;
  model: ServedModel | undefined;
  /** Kept when the model is loaded anew: places in the line stay taken. */
  admission: Admission | undefined;
  /** Its device broke down, and it is being loaded anew. */
  isMending: boolean;
  users: number;
  lastUse: number;
};

export type ShelfOptions = {
  readonly entries: readonly ModelEntry[];
  /** Bytes that all loaded models may take. */
  readonly memoryBytes: number;
  readonly queue: number;
  readonly loadSeconds: number;
  readonly now: () => number;
};

export class Shelf {
  readonly #options: ShelfOptions;
  readonly #books: ReadonlyMap<string, Book>;
  readonly #first: string;
  #clock = 0;
  /** Loadings stand in line, so that memory is reckoned once. */
  #line: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ShelfOptions) {
    this.#options = options;
    this.#books = new Map(
      options.entries.map((entry) => [
        entry.name,
        { entry, state: "away", loading: undefined, model: undefined, admission: undefined, isMending: false, users: 0, lastUse: 0 },
      ]),
    );
    this.#first = options.entries[0]?.name ?? "";
  }

  get entries(): readonly ModelEntry[] {
    return this.#options.entries;
  }

  /** Models in memory. */
  get loaded(): readonly ServedModel[] {
    return [...this.#books.values()].flatMap(({ state, model }) => (state === "here" && model ? [model] : []));
  }

  /** Whether a model is being loaded anew because its device broke down. */
  get isMending(): boolean {
    return [...this.#books.values()].some((book) => book.isMending);
  }

  /** The entry of a name; no name means the first. Throws Refusal 404. */
  find(name: string | null | undefined): ModelEntry {
    const entry = this.#books.get(name ?? this.#first)?.entry;
    if (entry) return entry;
    throw new Refusal(
      `the model ${quote(name ?? "", 100)}`,
      `one of ${[...this.#books.keys()].map((known) => quote(known, 100)).join(", ")}`,
      "see /v1/models",
      {
        status: 404,
        code: "model_not_found",
        param: "model",
        reason: "model",
      },
    );
  }

  /** Loads the first model, as `serve` does at its start. */
  async warm(): Promise<void> {
    if (this.#first !== "") (await this.#take(this.#bookOf(this.#first))).giveBack();
  }

  /** Lends a model. Waits for its loading, at most loadSeconds, then throws Refusal 503; the loading goes on. */
  async borrow(name: string | null | undefined, signal?: AbortSignal): Promise<Loan> {
    const book = this.#bookOf(this.find(name).name);
    if (book.state === "here") return await this.#take(book);
    const taking = this.#take(book);
    const { loadSeconds } = this.#options;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const refuse = () =>
        reject(
          new Refusal(`the model ${quote(book.entry.name, 100)}, which is being loaded`, "a loaded model", "try again soon", {
            status: 503,
            code: "model_loading",
            reason: "loading",
            headers: { "retry-after": "2" },
          }),
        );
      timer = setTimeout(refuse, loadSeconds * 1000);
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    try {
      return await Promise.race([taking, late]);
    } catch (error) {
      taking.then((loan) => loan.giveBack()).catch(() => {});
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** In place of a lent model whose device is lost, the same loaded anew; undefined when nothing is wrong with its device. */
  async renew(broken: ServedModel): Promise<ServedModel | undefined> {
    if (!broken.engine.model.device.isLost) return undefined;
    const book = this.#bookOf(broken.name);
    if (book.model === broken) {
      book.isMending = true;
      book.state = "away";
      book.model = undefined;
      // Whatever closing complains of, the device is gone.
      broken.close().catch(() => {});
    }
    try {
      return book.model ?? (await this.#load(book));
    } finally {
      book.isMending = false;
    }
  }

  /** Unloads all. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#line.catch(() => {});
    for (const book of this.#books.values()) if (book.state === "here") await this.#unload(book);
  }

  #bookOf(name: string): Book {
    return this.#books.get(name) as Book;
  }

  async #take(book: Book): Promise<Loan> {
    book.users++;
    try {
      const model = book.state === "here" && book.model ? book.model : await this.#load(book);
      book.lastUse = ++this.#clock;
      let isBack = false;
      return {
        model,
        giveBack: () => {
          if (!isBack) book.users--;
          isBack = true;
        },
      };
    } catch (error) {
      book.users--;
      throw error;
    }
  }

  #load(book: Book): Promise<ServedModel> {
    if (book.loading) return book.loading;
    const loading = this.#line
      .catch(() => {})
      .then(() => this.#loadNow(book))
      .finally(() => {
        book.loading = undefined;
      });
    book.loading = loading;
    this.#line = loading.catch(() => {});
    return loading;
  }

  async #loadNow(book: Book): Promise<ServedModel> {
    if (book.state === "here" && book.model) return book.model;
    if (this.#isClosed) throw shuttingDown();
    await this.#makeRoom(book.entry);
    book.state = "loading";
    try {
      const loaded = await book.entry.load();
      book.admission ??= new Admission(loaded.slots, this.#options.queue, this.#options.now);
      const { admission } = book;
      const longestPiece = longestToken(loaded.tokenizer);
      book.model = { ...loaded, close: () => loaded.close(), name: book.entry.name, admission, longestPiece };
      book.state = "here";
      return book.model;
    } catch (error) {
      book.state = "away";
      throw error;
    }
  }

  /** Unloads the models used longest ago until `entry` fits; throws Refusal 503 when those in use leave no room. */
  async #makeRoom(entry: ModelEntry): Promise<void> {
    const { memoryBytes } = this.#options;
    for (;;) {
      const here = [...this.#books.values()].filter(({ state }) => state === "here");
      const used = here.reduce((sum, book) => sum + book.entry.bytes, 0);
      if (used + entry.bytes <= memoryBytes) return;
      const idle = here.filter(({ users }) => users === 0).sort((a, b) => a.lastUse - b.lastUse)[0];
      if (idle) {
        await this.#unload(idle);
        continue;
      }
      const isTooLarge = here.length === 0;
      throw new Refusal(
        isTooLarge
          ? `the model ${quote(entry.name, 100)} of ${entry.bytes} bytes`
          : `no memory for the model ${quote(entry.name, 100)}: ${used} bytes are in use`,
        `at most ${memoryBytes} bytes for all models`,
        isTooLarge ? "start the server with a larger --memory" : "try again when others are done",
        { status: 503, code: "model_does_not_fit", reason: "memory", headers: isTooLarge ? {} : { "retry-after": "10" } },
      );
    }
  }

  async #unload(book: Book): Promise<void> {
    const { model } = book;
    book.state = "leaving";
    book.model = undefined;
    try {
      await model?.close();
    } finally {
      book.state = "away";
    }
  }
}

export function shuttingDown(): Refusal {
  return new Refusal("a request while the server is going down", "a server that goes on", "try another one, or later", {
    status: 503,
    code: "shutting_down",
    reason: "draining",
    headers: { "retry-after": "10", connection: "close" },
  });
}

function longestToken({ vocabSize, tokenOf }: Tokenizer): number {
  let longest = 1;
  for (let id = 0; id < vocabSize; id++) longest = Math.max(longest, tokenOf(id)?.length ?? 0);
  return longest;
}
