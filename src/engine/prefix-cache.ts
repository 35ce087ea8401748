// Which ids the pages hold: a radix tree over beginnings of sequences, one page of ids a node, a tree of its own for every salt. Running sequences
// put their pages in as they fill, so a request whose prompt begins like anything computed before finds its keys. A node holds its page.
// Nodes whose page nobody else holds are idle; they stay until the pool needs room, the one used longest ago first.
//
// A whole page is shared. Where ids part in the middle of a page (or a page is not full) the equal rows are copied: see `find`.
// Equal ids have equal keys, bit for bit (the law of backend.ts), so of two pages with the same ids one is kept.

import type { PagePool } from "./pages.ts";

type Node = {
  readonly parent: Node | undefined;
  /** At most a page of them; fewer only in a leaf, whose last rows are not (yet) known here. */
  ids: readonly number[];
  /** -1 in a root. */
  readonly page: number;
  /** By first id. */
  readonly children: Map<number, Node[]>;
  readonly salt: string;
};

/** What is known of the beginning of some ids. */
export type Match = {
  /** Pages that hold the first pages.length · pageSize ids, and may be shared. */
  readonly pages: readonly number[];
  /** `rows` more of the ids lie in the first rows of `page`, which belongs to others: copy them. */
  readonly tail: { readonly page: number; readonly rows: number } | undefined;
  /** Ids in all. */
  readonly length: number;
};

export class PrefixCache {
  readonly #pool: PagePool;
  readonly #roots = new Map<string, Node>();
  /** By page. */
  readonly #nodes: (Node | undefined)[];
  /**
   * In order of last use. A sequence that lets go adds its deepest node first, and holds a node's parents while it holds the node: so
   * children come before their parents, and the first is always a leaf.
   */
  readonly #idle = new Set<Node>();

  constructor(pool: PagePool) {
    this.#pool = pool;
    this.#nodes = new Array(pool.count).fill(undefined);
  }

  /** Pages that can be had by forgetting what they hold. */
  get idle(): number {
    return this.#idle.size;
  }

  /** How many of these pages only this tree holds. */
  idleAmong(pages: readonly number[]): number {
    return pages.reduce((count, page) => count + (this.#pool.holders(page) === 1 ? 1 : 0), 0);
  }

  /** The longest known beginning of ids, at most `limit` of them. Takes no hold: call `share` before anything else. */
  find(salt: string, ids: readonly number[], limit: number): Match {
    const { pageSize } = this.#pool;
    const pages: number[] = [];
    let node = this.#roots.get(salt);
    let start = 0;
    let tail: Match["tail"];
    while (node && start < limit) {
      let best: Node | undefined;
      let rows = 0;
      for (const child of node.children.get(ids[start] as number) ?? []) {
        const common = commonFrom(ids, start, Math.min(limit, start + pageSize), child.ids);
        if (common > rows) {
          best = child;
          rows = common;
        }
      }
      if (!best) break;
      if (rows < pageSize) {
        tail = { page: best.page, rows };
        break;
      }
      pages.push(best.page);
      node = best;
      start += pageSize;
    }
    return { pages, tail, length: start + (tail?.rows ?? 0) };
  }

  /** Holds the pages of a match, which are in use from now on. The tail is not held: it must be copied before anything is written. */
  share({ pages, tail }: Match): void {
    for (const page of pages) {
      this.#pool.hold(page);
      this.#idle.delete(this.#nodes[page] as Node);
    }
    const source = tail && this.#nodes[tail.page];
    if (source && this.#idle.delete(source)) this.#idle.add(source);
  }

  /**
   * Takes note that `pages` (which the caller holds) hold the keys of the first `count` ids. Where another page is known to hold the same ids,
   * the caller's is given back and the other put in its place.
   */
  store(salt: string, ids: readonly number[], count: number, pages: number[]): void {
    const { pageSize } = this.#pool;
    if (count === 0) return;
    let node = this.#rootOf(salt);
    for (let start = 0, i = 0; start < count; start += pageSize, i++) {
      const end = Math.min(count, start + pageSize);
      const own = pages[i] as number;
      const mine = this.#nodes[own];
      const same = childWith(node, ids, start, end);
      if (same) {
        if (end - start < pageSize) return; // known already
        if (same.page !== own) {
          if (mine) this.#remove(mine); // its beginning, noted while it was filling
          this.#pool.hold(same.page);
          this.#idle.delete(same);
          this.#pool.release(own);
          pages[i] = same.page;
        }
        node = same;
      } else if (mine) {
        mine.ids = ids.slice(start, end);
        node = mine;
      } else node = this.#add(node, ids.slice(start, end), own);
    }
  }

  /** A sequence lets go of its pages. */
  release(pages: readonly number[]): void {
    for (let i = pages.length - 1; i >= 0; i--) {
      const page = pages[i] as number;
      const left = this.#pool.release(page);
      const node = this.#nodes[page];
      if (left === 1 && node) this.#idle.add(node);
    }
  }

  /** Gives the idle page that was used longest ago back to the pool; false when there is none. */
  evict(): boolean {
    for (const node of this.#idle) {
      this.#remove(node);
      return true;
    }
    return false;
  }

  /** Forgets these ids and what follows them; not what a sequence holds, nor a beginning that other ids have too. */
  forget(salt: string, ids: readonly number[]): void {
    let node = this.#roots.get(salt);
    let start = 0;
    while (node) {
      let next: Node | undefined;
      for (const child of node.children.get(ids[start] as number) ?? []) {
        if (beginsWith(ids, start, child.ids) && child.ids.length > (next?.ids.length ?? 0)) next = child;
      }
      if (!next) break;
      start += next.ids.length;
      node = next;
    }
    if (!node) return;
    for (const child of [...node.children.values()].flat()) {
      if (commonFrom(ids, start, ids.length, child.ids) === ids.length - start) this.#removeBelow(child);
    }
    for (let parent = node.parent; parent && node.children.size === 0 && this.#idle.has(node); parent = node.parent) {
      this.#remove(node);
      node = parent;
    }
  }

  /** Forgets everything. Sequences keep the pages that they hold. */
  clear(): void {
    for (const node of this.#nodes) if (node) this.#remove(node);
  }

  #rootOf(salt: string): Node {
    const known = this.#roots.get(salt);
    if (known) return known;
    const root: Node = { parent: undefined, ids: [], page: -1, children: new Map(), salt };
    this.#roots.set(salt, root);
    return root;
  }

  #add(parent: Node, ids: readonly number[], page: number): Node {
    const node: Node = { parent, ids, page, children: new Map(), salt: parent.salt };
    const first = ids[0] as number;
    const siblings = parent.children.get(first) ?? [];
    parent.children.set(first, [...siblings, node]);
    this.#nodes[page] = node;
    this.#pool.hold(page);
    // A page that was left half full and has been copied and filled since is of no more use.
    for (const sibling of siblings) if (this.#idle.has(sibling) && beginsWith(ids, 0, sibling.ids)) this.#remove(sibling);
    return node;
  }

  /** Removes the idle ones of a node and all below it. */
  #removeBelow(top: Node): void {
    const found = [top];
    for (let i = 0; i < found.length; i++) found.push(...[...(found[i] as Node).children.values()].flat());
    for (const node of found) if (this.#idle.has(node)) this.#remove(node);
  }

  /** Takes a node out of the tree and lets go of its page. What lay below it is no longer found, and goes the same way in its turn. */
  #remove(node: Node): void {
    const { parent, page, salt } = node;
    const first = node.ids[0] as number;
    const siblings = parent?.children.get(first) ?? [];
    const at = siblings.indexOf(node);
    if (at >= 0) siblings.splice(at, 1);
    if (siblings.length === 0) parent?.children.delete(first);
    if (parent?.page === -1 && parent.children.size === 0) this.#roots.delete(salt);
    this.#nodes[page] = undefined;
    this.#idle.delete(node);
    this.#pool.release(page);
  }
}

/** The child whose ids begin with ids[start .. end-1]. */
function childWith(node: Node, ids: readonly number[], start: number, end: number): Node | undefined {
  return node.children.get(ids[start] as number)?.find((child) => commonFrom(ids, start, end, child.ids) === end - start);
}

/** How many of ids[start .. end-1] the known ids begin with. */
function commonFrom(ids: readonly number[], start: number, end: number, known: readonly number[]): number {
  const most = Math.min(end - start, known.length);
  let common = 0;
  while (common < most && ids[start + common] === known[common]) common++;
  return common;
}

function beginsWith(ids: readonly number[], start: number, known: readonly number[]): boolean {
  return commonFrom(ids, start, ids.length, known) === known.length;
}
