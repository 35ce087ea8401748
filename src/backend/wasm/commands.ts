// The commands that the WebAssembly threads understand: one row each, in the order of their numbers. The build makes the dispatcher
// from this table, the recorder packs arguments by it, so the two cannot drift. Every argument is one 32-bit word:
//   !name  address of a View that is written     @name  address of a View that is read     ?name  the same, 0 when absent
//   ~name  float                                  name   integer, boolean as 1 or 0, kind as its index

export const binaryKinds = ["add", "sub", "mul", "div", "min", "max", "lessEqual", "less"] as const;
export const unaryKinds = ["neg", "exp", "log", "sqrt", "reciprocal", "sigmoid", "silu", "tanh", "square", "abs"] as const;

export type Command = {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  /** About how many multiply-adds it takes: the weight times these arguments. It decides whether threads share a list. */
  readonly work: { readonly weight: number; readonly factors: readonly string[] };
};

/** `work`: its weight and its factors, as "8 rows width"; little where it is absent. */
function command(name: string, file: string, args: string, work = "0"): Command {
  const [weight, ...factors] = work.split(" ");
  return { name, file, args: args.split(" "), work: { weight: Number(weight), factors } };
}

const packedArguments =
  "S E N K type lanes way halves minimum codesOnly inTiles panelBytes rowBlock panelBlock columns scratch scratchStride";

const bytesArguments =
  "!out !lse @q @k @v @first @last R S H G D Dv ~scale kRowStride kHeadStride vRowStride vHeadStride " +
  "?pages ?slot tables tableStride pageSize rowsPerUnit groupsPerUnit chunksPerUnit way kBlocks vBlocks records scratch scratchStride";

export const commands = [
  command("fill", "fill", "!out n ~value", "4 n"),
  command("copy", "copy", "!out @x n0 n1 n2 n3 o0 o1 o2 o3 x0 x1 x2 x3 accumulate", "8 n0 n1 n2 n3"),
  command("gatherRows", "gather-rows", "!out @x @index rows width xRows", "4 rows width"),
  command("scatterRows", "scatter-rows", "!out @x @index rows width outRows", "4 rows width"),
  command("binary", "binary", "kind !out @a @b n bRepeat bPeriod accumulate", "8 n"),
  command("unary", "unary", "kind !out @x n", "16 n"),
  command("unaryBackward", "unary", "kind !dx @dy @x n accumulate", "16 n"),
  command("affine", "affine", "!out @x n ~scale ~shift accumulate", "8 n"),
  command("clamp", "clamp", "!out @x n ~low ~high", "8 n"),
  command("clampBackward", "clamp", "!dx @dy @x n ~low ~high accumulate", "8 n"),
  command("swiglu", "swiglu", "!out @gate @up n", "16 n"),
  command("swigluBackward", "swiglu", "!dGate !dUp @dOut @gate @up n", "32 n"),
  command("sumAxis", "sum-axis", "!out @x outer axis inner accumulate", "8 outer axis inner"),
  command("sumSquares", "sum-squares", "partials @x n", "4 n"),
  command("finishSum", "sum-squares", "!out partials count accumulate"),
  command("packPanels", "matmul-pack", "packed b K N kStride nStride columns count bStride", "8 count K N"),
  command(
    "matmul",
    "matmul",
    "!out @a packed M N K mStride kStride columns accumulate batch outBatchStride aBatchStride packedBatchStride rowBlocks panelBlock scratch scratchStride",
    "1 batch M N K",
  ),
  command("groupedMatmul", "matmul", "!out @x packed @offsets S E N K columns rowBlock scratch scratchStride", "1 S N K"),
  command("groupedMatmulWeightGrad", "matmul", "!dw @dy packed @offsets S E N K columns rowBlock scratch scratchStride", "1 S N K"),
  command("packedRepack", "packed-repack", "w source type firstRow rows N K panelBytes rowBytes flip", "8 rows K"),
  command("packedRows", "packed-rows", "target @x ?offsets S E K lanes wide halves sums offset", "8 S K"),
  command("packedHalfRows", "packed-half", "target @x ?offsets S E K", "8 S K"),
  command("packedMatmul", "packed-matmul", `!out x w ?offsets ${packedArguments}`, "1 S N K"),
  command("packedGroupedMatmul", "packed-matmul", `!out x w @offsets ${packedArguments}`, "1 S N K"),
  command(
    "packedEmbedding",
    "packed-embedding",
    "!out table @ids rows width vocab N type halves minimum offset panelBytes scratch scratchStride",
    "8 rows width",
  ),
  command("rmsNorm", "rms-norm", "!out @x @weight rows width ~eps", "8 rows width"),
  command("rmsNormBackward", "rms-norm", "!dx @dy @x @weight inverse rows width ~eps", "16 rows width"),
  command("rmsNormWeightGrad", "rms-norm", "!dweight @dy @x inverse rows width", "8 rows width"),
  command(
    "rope",
    "rope",
    "!out @x @positions @cos @sin tableRows rows heads width offset dims interleaved inverse xRowStride outRowStride",
    "8 rows heads width",
  ),
  command("embedding", "embedding", "!out @table @ids rows width vocab", "4 rows width"),
  command("embeddingBackward", "embedding", "!dtable @dy @ids rows width vocab", "8 rows width"),
  command("crossEntropy", "cross-entropy", "!loss !lse @logits @targets rows vocab", "16 rows vocab"),
  command("crossEntropyBackward", "cross-entropy", "!dlogits @logits @lse @targets @dloss rows vocab", "16 rows vocab"),
  command("entropy", "entropy", "!out @logits rows vocab", "32 rows vocab"),
  command("softmax", "softmax", "!out @x rows width", "16 rows width"),
  command("softmaxBackward", "softmax", "!dx @dy @y rows width", "16 rows width"),
  command(
    "attention",
    "attention",
    "!out !lse @q @k @v @first @last R S H G D Dv ~scale kRowStride kHeadStride vRowStride vHeadStride panelKeys scratch scratchStride " +
      "?pages ?slot tables tableStride pageSize",
    "128 R H D",
  ),
  command(
    "attentionGroups",
    "attention-groups",
    "!out !lse @q @k @v @first @last R S H G D Dv ~scale kRowStride kHeadStride vRowStride vHeadStride " +
      "?pages ?slot tables tableStride pageSize type rowsPerUnit headsPerUnit runKeys wide scratch scratchStride",
    "128 R H D",
  ),
  command("attentionBytes", "attention-bytes", bytesArguments, "128 R H D"),
  command("attentionBytesMerge", "attention-bytes-merge", bytesArguments, "128 R H D"),
  command("cacheWrite", "cache-write", "!out @x @index rows width outRows rowWords type", "16 rows width"),
  command(
    "attentionBackward",
    "attention",
    "!dq !dk !dv @dOut @out @lse @q @k @v @first @last R S H G D Dv ~scale batch kRowStride kHeadStride vRowStride vHeadStride " +
      "dkRowStride dkHeadStride dvRowStride dvHeadStride panelKeys scratch scratchStride",
    "512 R H D",
  ),
  command(
    "route",
    "route",
    "!indices !weights @scores @bias T E K groups topkGroups groupTop ~masked normalise ~scale scratch scratchStride",
  ),
  command("routeBackward", "route", "!dscores @dweights @scores @indices T E K normalise ~scale"),
  command("dispatch", "dispatch", "!offsets !sorted !place @indices slots E scratch"),
  command("expertGather", "expert-gather", "!out @x @sorted ?weights slots K width", "8 slots width"),
  command("expertCombine", "expert-combine", "!out @y @place ?weights T K width accumulate", "8 T K width"),
  command("expertCombineWeightGrad", "expert-combine", "!dweights @y @dOut @place T K width", "8 T K width"),
  command("expertLoad", "expert-load", "!counts @indices slots parts E accumulate"),
  command("balanceBias", "balance-bias", "!bias @counts E ~gamma"),
  command("clipFactor", "clip-factor", "!out @sumSquares ?guard ~maxNorm"),
  command("adamw", "adamw", "!param @grad !m !v n @factor ~beta1 ~beta2 ~rest1 ~rest2 ~eps ~decay ~stepSize ~inverseRoot", "32 n"),
  command("probeDot", "probe", "out"),
  command("far", "far", "memory kind a b c", "Infinity"),
  command("probeRead", "probe", "x bytes out", "Infinity"),
  command("probeFma", "probe", "out rounds chains", "Infinity"),
] as const satisfies readonly Command[];

/** Commands whose units threads claim one by one, `own` ones after their own: a caller who comes late takes part as one thread more. The longest of a step are among them. */
export const claimed: ReadonlySet<string> = new Set([
  "matmul",
  "groupedMatmul",
  "packedMatmul",
  "packedGroupedMatmul",
  "attention",
  "attentionGroups",
  "attentionBytes",
]);

/** Files whose functions the module exports, for no other reason than that the optimiser then keeps them apart: V8 optimises them function by function. */
export const keptApart = [
  "packed-codes",
  "packed-widen",
  "packed-q4",
  "packed-tiles",
  "packed-q5",
  "packed-q6k",
  "packed-q8",
  "packed-half",
  "attention-tiles",
  "attention-bytes-tiles",
  "attention-bytes-weights",
  "attention-bytes-widen",
  "cache-write",
] as const;
