// Runs a chat template within limits. In: the syntax tree that `@huggingface/jinja` makes of a template, and its variables. Out: text.
// A template is a program from a stranger: steps, size of values, depth and time are bounded (hazards J12 to J23), which the library
// does not do by itself. What it gets wrong is set right here and nowhere else: Python's equality and printing, the text before a
// `break`, variables that outlive a turn of a loop, methods hidden by keys. These are methods that the library declares private.

import { Interpreter, type Environment as LibraryEnvironment } from "@huggingface/jinja";
import { entries, isTruthy, ownFilters, strip } from "./template-filters.ts";
import { assign, compare, countOf, loopVariables, modulo, type Node, pythonName, spell } from "./template-operators.ts";
import {
  ArrayValue,
  areEqual,
  BooleanValue,
  FloatValue,
  FunctionValue,
  IntegerValue,
  isList,
  isMap,
  isNamespace,
  isNumber,
  isText,
  isUndefined,
  makeMeasure,
  ObjectValue,
  StringValue,
  TupleValue,
  textOf,
  UndefinedValue,
  type Value,
} from "./template-values.ts";

export type Limits = {
  readonly steps: number;
  /** Characters of any value. */
  readonly size: number;
  readonly depth: number;
  readonly milliseconds: number;
};

/** What a template asked for beyond its limits. */
export class LimitError extends Error {}

type Environment = { setVariable(name: string, value: Value): Value };

interface OpenInterpreter {
  evaluate(node: Node | undefined, environment: Environment): Value;
  evaluateBlock(nodes: readonly Node[], environment: Environment): Value;
  evaluateFor(node: Node, environment: Environment): Value;
  evaluateBinaryExpression(node: Node, environment: Environment): Value;
  evaluateMemberExpression(node: Node, environment: Environment): Value;
  evaluateArguments(nodes: readonly Node[], environment: Environment): [Value[], Map<string, Value>];
  applyFilter(operand: Value, filter: Node, environment: Environment): Value;
}

const Base = Interpreter as unknown as new (environment: LibraryEnvironment) => OpenInterpreter;

/** `break` and `continue`, with the text that their turn of the loop had made. */
class LoopControl extends Error {
  readonly kind: string;
  text = "";

  constructor(kind: string) {
    super(`${kind.toLowerCase()} outside a loop`);
    this.kind = kind;
  }
}

export class LimitedInterpreter extends Base {
  readonly #limits: Limits;
  readonly #newScope: (parent: Environment) => Environment;
  readonly #now: () => number;
  readonly #deadline: number;
  readonly #measure = makeMeasure();
  #steps = 0;
  #nextLook = 0;
  #depth = 0;

  /** `now` is a clock in milliseconds. */
  constructor(global: LibraryEnvironment, limits: Limits, now: () => number) {
    super(global);
    this.#limits = limits;
    this.#now = now;
    this.#deadline = now() + limits.milliseconds;
    this.#newScope = (parent) => new (global.constructor as unknown as new (parent: Environment) => Environment)(parent);
  }

  /** Counts work: about one step for each value that is touched. */
  charge(steps: number): void {
    this.#steps += steps;
    if (!(this.#steps <= this.#limits.steps)) throw new LimitError(`more than ${this.#limits.steps} steps`);
    if (this.#steps < this.#nextLook) return;
    this.#nextLook = this.#steps + 512;
    if (this.#now() > this.#deadline) throw new LimitError(`more than ${this.#limits.milliseconds} ms`);
  }

  /** Refuses a value of more characters than allowed, before it is made where that is possible. */
  allow(characters: number): void {
    if (!(characters <= this.#limits.size)) throw new LimitError(`a value of more than ${this.#limits.size} characters`);
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (node?.type === "Given") return node.value as Value;
    this.charge(1);
    if (node?.type === "Break" || node?.type === "Continue") throw new LoopControl(node.type);
    if (++this.#depth > this.#limits.depth) throw new LimitError(`expressions and macros nested deeper than ${this.#limits.depth}`);
    try {
      return this.#checked(super.evaluate(node, environment));
    } finally {
      this.#depth--;
    }
  }

  #checked(value: Value): Value {
    if (isText(value)) {
      this.allow(value.value.length);
    } else if (isList(value) || isMap(value) || isNamespace(value)) {
      const { size, nodes } = this.#measure(value);
      this.allow(size);
      // Whoever prints or compares it will take a while.
      if (nodes > 1000) this.#nextLook = 0;
    }
    return value;
  }

  override evaluateBlock(nodes: readonly Node[], environment: Environment): Value {
    let text = "";
    for (const node of nodes) {
      try {
        const value = this.evaluate(node, environment);
        // A statement gives null where it prints nothing; an expression that is none prints None.
        if (!(value.type === "NullValue" && isStatement(node))) text += textOf(value);
        this.allow(text.length);
      } catch (thrown) {
        if (thrown instanceof LoopControl) thrown.text = text + thrown.text;
        throw thrown;
      }
    }
    return new StringValue(text);
  }

  override evaluateFor(node: Node, environment: Environment): Value {
    const { loopvar, iterable, body, defaultBlock } = node as Node & { loopvar: Node; iterable: Node; body: Node[]; defaultBlock: Node[] };
    const filtered = iterable.type === "SelectExpression" ? (iterable as Node & { lhs: Node; test: Node }) : undefined;
    const whole = this.#items(this.evaluate(filtered ? filtered.lhs : iterable, environment));
    this.charge(whole.length);
    const bind = (item: Value): Environment => {
      const scope = this.#newScope(environment);
      for (const [name, value] of assign(loopvar, item)) scope.setVariable(name, value);
      return scope;
    };
    const items = filtered ? whole.filter((item) => isTruthy(this.evaluate(filtered.test, bind(item)))) : whole;
    if (items.length === 0) return this.evaluateBlock(defaultBlock, this.#newScope(environment));

    let text = "";
    for (const [i, item] of items.entries()) {
      const scope = bind(item);
      scope.setVariable("loop", new ObjectValue(loopVariables(items, i)));
      try {
        text += textOf(this.evaluateBlock(body, scope));
      } catch (thrown) {
        if (!(thrown instanceof LoopControl)) throw thrown;
        text += thrown.text;
        if (thrown.kind === "Break") break;
      }
      this.allow(text.length);
    }
    return new StringValue(text);
  }

  #items(value: Value): readonly Value[] {
    if (isList(value)) return value.value;
    if (isMap(value)) return Array.from(value.value.keys(), (key) => new StringValue(key));
    if (isText(value)) {
      this.charge(value.value.length);
      return Array.from(value.value, (character) => new StringValue(character));
    }
    if (isUndefined(value)) return [];
    throw new TypeError(`${pythonName(value)} is not iterable`);
  }

  override evaluateBinaryExpression(node: Node, environment: Environment): Value {
    const { operator, left, right } = node as Node & { operator: { value: string }; left: Node; right: Node };
    const sign = operator.value;
    if (!ownOperators.has(sign)) return super.evaluateBinaryExpression(node, environment);
    const [a, b] = [this.evaluate(left, environment), this.evaluate(right, environment)];
    if (sign === "==" || sign === "!=") return new BooleanValue(areEqual(a, b) === (sign === "=="));
    if (sign === "in" || sign === "not in") return new BooleanValue(this.#contains(b, a) === (sign === "in"));
    if (sign === "~") return new StringValue(textOf(a) + textOf(b));
    if (sign === "*") return this.#times(a, b);
    if (sign === "%") return modulo(a, b);
    if (sign.startsWith("<") || sign.startsWith(">")) return compare(sign, a, b);
    if (isText(a) && isText(b)) return new StringValue(a.value + b.value);
    if (isList(a) && isList(b)) {
      this.charge(a.value.length + b.value.length);
      return new ArrayValue([...a.value, ...b.value]);
    }
    if (isNumber(a) && isNumber(b)) {
      const sum = a.value + b.value;
      return a.type === "IntegerValue" && b.type === "IntegerValue" ? new IntegerValue(sum) : new FloatValue(sum);
    }
    throw new TypeError(`${pythonName(a)} + ${pythonName(b)}`);
  }

  #times(a: Value, b: Value): Value {
    const [text, count] = isText(a) || isList(a) ? [a, b] : [b, a];
    if (isNumber(a) && isNumber(b)) {
      const product = a.value * b.value;
      return a.type === "IntegerValue" && b.type === "IntegerValue" ? new IntegerValue(product) : new FloatValue(product);
    }
    if (count.type !== "IntegerValue" || !(isText(text) || isList(text))) throw new TypeError(`${pythonName(a)} * ${pythonName(b)}`);
    const times = Math.max(0, count.value as number);
    this.allow(text.value.length * times);
    if (isText(text)) return new StringValue(text.value.repeat(times));
    this.charge(text.value.length * times);
    return new ArrayValue(Array.from({ length: times }, () => text.value).flat());
  }

  #contains(container: Value, item: Value): boolean {
    if (isList(container)) {
      this.charge(container.value.length / 16);
      return container.value.some((other) => areEqual(other, item));
    }
    if (isMap(container)) return isText(item) && container.value.has(item.value);
    if (isText(container)) {
      this.charge(container.value.length / 1024);
      if (isText(item)) return container.value.includes(item.value);
    }
    if (isUndefined(container)) return false;
    throw new TypeError(`${pythonName(item)} in ${pythonName(container)}`);
  }

  override evaluateMemberExpression(node: Node, environment: Environment): Value {
    const { object, property, computed } = node as Node & { object: Node; property: Node; computed: boolean };
    const value = this.evaluate(object, environment);
    if (isUndefined(value)) throw new TypeError(`an attribute of ${spell(object)}, which is undefined`);
    const given = { type: "Given", value };
    if (computed && property.type === "SliceExpression") {
      this.charge((isText(value) || isList(value) ? value.value.length : 0) / 16);
      const { start, stop, step } = property as Node & { start?: Node; stop?: Node; step?: Node };
      if (isText(value) && step === undefined && !surrogate.test(value.value)) {
        const [from, to] = [start, stop].map((bound) => (bound ? this.evaluate(bound, environment) : new UndefinedValue(undefined)));
        if (from && to && isBound(from) && isBound(to)) return new StringValue(value.value.slice(from.value, to.value));
      }
      return super.evaluateMemberExpression({ type: "MemberExpression", object: given, property, computed }, environment);
    }
    const key = computed ? this.evaluate(property, environment) : undefined;
    const name = key === undefined ? String(property.value) : isText(key) ? key.value : undefined;
    // `x.items` is the method, whatever the keys.
    if (!computed && isMap(value) && mapMethods.has(name ?? ""))
      return this.#method(value, methodOf(value, name as string), name as string);
    const member = super.evaluateMemberExpression(
      { type: "MemberExpression", object: given, property: key === undefined ? property : { type: "Given", value: key }, computed },
      environment,
    );
    return member.type === "FunctionValue" && (isText(value) || isMap(value)) ? this.#method(value, member, name ?? "") : member;
  }

  /** The method, with its work counted before it is done. */
  #method(self: Value & { value: string | Map<string, Value> }, method: Value, name: string): Value {
    const call = method.value as (args: Value[], scope: Environment) => Value;
    if (isMap(self) && self.value.get(name) === method) return method;
    return new FunctionValue((args, scope) => {
      if (isMap(self)) {
        this.charge(self.value.size);
        if (name === "items") return entries(self);
        return call(args, scope as unknown as Environment);
      }
      const text = self.value as string;
      this.charge(text.length / 1024);
      if (name === "replace") return this.#replace(text, args);
      if (name === "split") this.charge(countOf(text, args[0]));
      if (name === "strip" || name === "lstrip" || name === "rstrip") return strip(text, args[0], name);
      return call(args, scope as unknown as Environment);
    });
  }

  #replace(text: string, args: readonly Value[]): Value {
    const keywords = args.find(({ type }) => type === "KeywordArgumentsValue") as (Value & { value: Map<string, Value> }) | undefined;
    const [from, to, limit = keywords?.value.get("count")] = args.filter((arg) => arg !== keywords);
    if (!from || !to || !isText(from) || !isText(to)) throw new TypeError("replace() needs two strings");
    const most = limit?.type === "IntegerValue" && (limit.value as number) >= 0 ? (limit.value as number) : Number.POSITIVE_INFINITY;
    const count = Math.min(most, from.value === "" ? Array.from(text).length + 1 : countOf(text, from));
    this.charge(count / 16);
    this.allow(text.length + count * (to.value.length - from.value.length));
    if (from.value === "") {
      const parts = Array.from(text);
      return new StringValue(parts.map((part, i) => (i < count ? to.value : "") + part).join("") + (count > parts.length ? to.value : ""));
    }
    const parts = text.split(from.value);
    const head = parts.slice(0, count + 1).join(to.value);
    return new StringValue([head, ...parts.slice(count + 1)].join(from.value));
  }

  override applyFilter(operand: Value, filter: Node, environment: Environment): Value {
    const isCall = filter.type === "CallExpression";
    const name = String((isCall ? (filter.callee as Node) : filter).value);
    this.#chargeFilter(operand, name);
    const own = ownFilters.get(name);
    if (own || name === "replace") {
      const [args, keywords] = isCall ? this.evaluateArguments(filter.args as Node[], environment) : [[], new Map<string, Value>()];
      if (!own) return this.#replace(textOf(operand), [...args, ...keywords.values()]);
      const apply = (other: string, item: Value) => this.applyFilter(item, { type: "Identifier", value: other }, environment);
      return own({ operand, args, keywords, allow: (characters) => this.allow(characters), measure: this.#measure, apply });
    }
    const made = super.applyFilter(operand, filter, environment);
    if (name !== "dictsort" || !isList(made)) return made;
    return new ArrayValue(made.value.map((pair) => (isList(pair) ? new TupleValue(pair.value) : pair)));
  }

  #chargeFilter(operand: Value, name: string): void {
    if (isList(operand)) this.charge(operand.value.length * (name === "sort" ? Math.ceil(Math.log2(operand.value.length + 2)) : 1));
    else if (isMap(operand)) this.charge(operand.value.size * (name === "dictsort" ? 16 : 1));
    else if (isText(operand)) this.charge(operand.value.length / (name === "list" || name === "join" || name === "indent" ? 16 : 1024));
    if (name === "tojson" || name === "string" || name === "join") this.charge(this.#measure(operand).nodes / 4);
  }
}

const surrogate = /[\ud800-\udfff]/;

function isBound(value: Value): value is Value & { value: number | undefined } {
  return value.type === "IntegerValue" || isUndefined(value);
}

const ownOperators = new Set(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "~", "+", "*", "%"]);

const mapMethods = new Set(["get", "items", "keys", "values"]);

/** Statements give null where they print nothing; an expression that is none prints None. */
function isStatement({ type }: Node): boolean {
  return type === "Set" || type === "Macro" || type === "Comment";
}

function methodOf(value: Value, name: string): Value {
  return (value as unknown as { builtins: ReadonlyMap<string, Value> }).builtins.get(name) as Value;
}
