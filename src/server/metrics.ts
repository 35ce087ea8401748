// Numbers for Prometheus, in vLLM's words under `gradually:`. In: events of requests. Out: the text of /metrics. Labels come from fixed sets (names
// of models that are served, reasons of our own), never from a request, so that nobody can make them grow (hazard A91).

type Kind = "counter" | "gauge" | "histogram";
type Definition = { readonly kind: Kind; readonly help: string; readonly buckets?: readonly number[] };

const seconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const tokens = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

export const metricTable = {
  requests_received_total: { kind: "counter", help: "Generation requests that came." },
  request_success_total: { kind: "counter", help: "Requests answered to the end, by finish reason of the first choice." },
  requests_failed_total: { kind: "counter", help: "Requests that failed inside the server." },
  requests_cancelled_total: { kind: "counter", help: "Requests whose client went away or stopped reading." },
  requests_rejected_total: { kind: "counter", help: "Requests refused before anything was computed, by reason." },
  num_requests_running: { kind: "gauge", help: "Requests that are computed now." },
  num_requests_waiting: { kind: "gauge", help: "Requests that wait for a slot." },
  kv_cache_usage_perc: { kind: "gauge", help: "Share of the cache that is in use, 0 to 1." },
  prefix_cache_queries: { kind: "counter", help: "Prompt tokens looked up in the prefix cache." },
  prefix_cache_hits: { kind: "counter", help: "Prompt tokens found there." },
  prompt_tokens_total: { kind: "counter", help: "Prompt tokens." },
  generation_tokens_total: { kind: "counter", help: "Generated tokens." },
  preemptions_total: { kind: "counter", help: "Sequences that gave up their cache for others." },
  spec_decode_num_draft_tokens_total: { kind: "counter", help: "Tokens that speculation proposed." },
  spec_decode_num_accepted_tokens_total: { kind: "counter", help: "Of these, the ones that came true." },
  request_prompt_tokens: { kind: "histogram", help: "Prompt tokens of a request.", buckets: tokens },
  request_generation_tokens: { kind: "histogram", help: "Generated tokens of a choice.", buckets: tokens },
  time_to_first_token_seconds: { kind: "histogram", help: "From the request to its first token.", buckets: seconds },
  inter_token_latency_seconds: { kind: "histogram", help: "Between two tokens of a choice.", buckets: seconds },
  e2e_request_latency_seconds: { kind: "histogram", help: "From the request to its end.", buckets: seconds },
  request_decode_time_seconds: { kind: "histogram", help: "From the first token of a choice to its last.", buckets: seconds },
  models_loaded: { kind: "gauge", help: "Models in memory." },
  build_info: { kind: "gauge", help: "1, labelled with the version." },
} as const satisfies Record<string, Definition>;

export type MetricName = keyof typeof metricTable;
type Labels = Readonly<Record<string, string>>;
/** How often values fell below each limit. */
export class Histogram {
  readonly #limits: readonly number[];
  readonly counts: number[];
  sum = 0;
  count = 0;

  /** Limits rise. */
  constructor(limits: readonly number[]) {
    this.#limits = limits;
    this.counts = limits.map(() => 0);
  }

  observe(value: number): void {
    const limits = this.#limits;
    let index = 0;
    while (index < limits.length && value > (limits[index] as number)) index++;
    if (index < limits.length) (this.counts[index] as number)++;
    this.sum += value;
    this.count++;
  }
}

export type Counter = { value: number };

/** Compared by identity: most numbers have no labels, and some are counted for each token. */
const none: Labels = {};

export class Metrics {
  readonly #values = new Map<string, { name: MetricName; labels: Labels; value: number }>();
  readonly #histograms = new Map<MetricName, Histogram>();

  add(name: MetricName, amount = 1, labels: Labels = none): void {
    this.#entry(name, labels).value += amount;
  }

  set(name: MetricName, value: number, labels: Labels = none): void {
    this.#entry(name, labels).value = value;
  }

  observe(name: MetricName, value: number): void {
    this.histogram(name).observe(value);
  }

  /** The number itself, for what is counted with each token. */
  counter(name: MetricName): Counter {
    return this.#entry(name, none);
  }

  histogram(name: MetricName): Histogram {
    const known = this.#histograms.get(name);
    if (known) return known;
    const histogram = new Histogram((metricTable[name] as Definition).buckets ?? []);
    this.#histograms.set(name, histogram);
    return histogram;
  }

  value(name: MetricName, labels?: Labels): number {
    let sum = 0;
    for (const entry of this.#values.values())
      if (entry.name === name && (!labels || key(name, labels) === key(name, entry.labels))) sum += entry.value;
    return sum;
  }

  /** The exposition format, version 0.0.4. */
  text(): string {
    const lines: string[] = [];
    for (const [name, { kind, help, ...rest }] of Object.entries<Definition>(metricTable)) {
      lines.push(`# HELP gradually:${name} ${help}`, `# TYPE gradually:${name} ${kind}`);
      if (kind === "histogram") {
        const histogram = this.#histograms.get(name as MetricName);
        let count = 0;
        for (const [i, limit] of (rest.buckets ?? []).entries()) {
          count += histogram?.counts[i] ?? 0;
          lines.push(`gradually:${name}_bucket{le="${limit}"} ${count}`);
        }
        lines.push(`gradually:${name}_bucket{le="+Inf"} ${histogram?.count ?? 0}`);
        lines.push(`gradually:${name}_sum ${histogram?.sum ?? 0}`, `gradually:${name}_count ${histogram?.count ?? 0}`);
        continue;
      }
      const entries = [...this.#values.values()].filter((entry) => entry.name === name);
      if (entries.length === 0) lines.push(`gradually:${name} 0`);
      for (const { labels, value } of entries) lines.push(`gradually:${name}${spelled(labels)} ${value}`);
    }
    return `${lines.join("\n")}\n`;
  }

  #entry(name: MetricName, labels: Labels) {
    const id = labels === none ? name : key(name, labels);
    let entry = this.#values.get(id);
    if (!entry) {
      entry = { name, labels, value: 0 };
      this.#values.set(id, entry);
    }
    return entry;
  }
}

function key(name: string, labels: Labels): string {
  return `${name}${spelled(labels)}`;
}

function spelled(labels: Labels): string {
  if (labels === none) return "";
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}
