// Flags under the names that other programs gave them. In: argv. Out: argv with our names, so that help and parsing know one name each.

/** `--temp 1` is `--temperature 1`, and so on: names of other programs, told once. */
const aliases: readonly (readonly [string, string])[] = [
  ["--temp", "--temperature"],
  ["--reasoning-budget", "--thinking-budget"],
  ["--repetition-penalty", "--repeat-penalty"],
  ["--typical", "--typical-p"],
  ["--draft-max", "--draft-tokens"],
  // Keys and values have one type here.
  ["-ctk", "--cache-type"],
  ["-ctv", "--cache-type"],
  ["--cache-type-k", "--cache-type"],
  ["--cache-type-v", "--cache-type"],
];

/** Arguments with the aliases replaced, up to a `--`. */
export function withoutAliases(args: readonly string[]): string[] {
  const end = args.indexOf("--");
  return args.map((arg, i) => {
    if (end >= 0 && i > end) return arg;
    if (arg === "--think") return "--think=true"; // never the word after it
    for (const [alias, name] of aliases) {
      if (arg === alias) return name;
      if (arg.startsWith(`${alias}=`)) return name + arg.slice(alias.length);
    }
    return arg;
  });
}
