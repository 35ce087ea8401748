// `gradually tokenize MODEL TEXT`: the ids of a text, from a model's tokenizer. Needs no weights.

import type { Command } from "commander";
import { modelHelp } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { openText } from "./model.ts";
import { say, showControls, table, writeJson } from "./output.ts";
import { readInput } from "./stdin.ts";

type Flags = { readonly special: boolean; readonly json?: boolean };

export function tokenizeCommand(program: Command): void {
  program
    .command("tokenize")
    .description("Turn a text into the ids of a model.")
    .argument("<model>", `${modelHelp}; only its tokenizer files are read`)
    .argument("<text>", "the text; - reads standard input")
    .option("--no-special", "leave out what the tokenizer adds around a text (the beginning-of-text token)")
    .option("--json", 'print {"ids": […]}')
    .addHelpText(
      "after",
      '\nExamples:\n  $ gradually tokenize ./my-model "Once upon a time"\n  $ gradually tokenize ./my-model - --json < story.txt',
    )
    .action(runTokenize);
}

async function runTokenize(reference: string, text: string, flags: Flags): Promise<void> {
  const { files } = nodeHost();
  const { tokenizer } = await openText(files, reference);
  const ids = tokenizer.encode(text === "-" ? await readInput("tokenize") : text, { addSpecialTokens: flags.special });
  if (flags.json) writeJson({ ids });
  else if (ids.length > 0)
    say(
      table(
        ids.map((id) => [String(id), showControls(JSON.stringify(tokenizer.tokenOf(id) ?? ""))]),
        [0],
      ),
    );
}
