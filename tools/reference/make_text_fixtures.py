"""Makes test/fixtures/text/ with Hugging Face's tokenizers and Python's Jinja2:

    python tools/reference/make_text_fixtures.py

pieces.json: random texts cut by each pre-tokenizer that GGUF has a name for; ends of pieces, in code points.
tokenizers.json: small tokenizers trained here (byte-level and SentencePiece-like), random texts and their ids.
templates.json: small templates with what Jinja2 renders in transformers' settings, or the kind of error.
Needs tokenizers 0.23 and jinja2 3.1.
"""

import json
import random
import subprocess
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

root = Path(__file__).resolve().parents[2]
out = root / "test/fixtures/text"
out.mkdir(parents=True, exist_ok=True)
random.seed(7)

alphabet = (
    list("abcdefXYZ0123456789") * 3
    + list("'\"!?.,;:-_()[]{}<>@#$%^&*+=/\\|`~") * 2
    + list("  \t\n\r\n   ") * 4
    + list("éßøÀŁǅªʰΩωЖжѢאבعربहिन्दीไทย中文漢字日本語かなカナ한국어")
    + list("\u0301\u0323\u0085\u00a0\u3000\u2028\u200b\u200d\ufeff\u00ad½Ⅷ²٣๓①、。！？「」…—€£©™∑")
    + ["👩\u200d👩\u200d👧", "😀", "🇩🇪", "𝒳", "𐐀", "ſ", "\u212a", "'S", "'ll", "'VE", "n't", " HelloWorld", "12345", "  \n ", "\r\n\r\n"]
    + ["\x00", "\x1f", "\x7f"]
)


def random_text(most):
    return "".join(random.choice(alphabet) for _ in range(random.randint(0, most)))


def pieces():
    node = root / "node_modules/.bin/node"
    printed = subprocess.run([str(node), str(root / "tools/reference/pre-tokenizers.ts")], capture_output=True, text=True, check=True).stdout
    configs = json.loads(printed)
    configs["trained here"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\p{N}+| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    }
    configs["digits"] = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": False}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}],
    }
    texts = [random_text(40) for _ in range(60)] + [" ", "\n", "   ", "a  ", "  a", "\t\n x", "'", "'s", "It's I'LL", "\r", "e\u0301"]
    rows = {}
    for name, config in configs.items():
        tokenizer = Tokenizer(models.BPE())
        blank = json.loads(tokenizer.to_str())
        blank["pre_tokenizer"] = config
        cutter = Tokenizer.from_str(json.dumps(blank)).pre_tokenizer
        ends = []
        for text in texts:
            offsets = [offset for _, offset in cutter.pre_tokenize_str(text)]
            assert all(a[1] == b[0] for a, b in zip(offsets, offsets[1:])), (name, text)
            ends.append([end for _, end in offsets])
        rows[name] = {"config": config, "ends": ends}
    return {"texts": texts, "patterns": rows}


words = "the cat sat on a mat and then 12 345 cats said: what's that? ünïcödé straße naïve ΑΒΓ абв 中文 日本 \n\n  def f(x):\n\treturn x + 1\n".split(" ")


def corpus():
    return [" ".join(random.choice(words) for _ in range(60)) for _ in range(200)]


def trained():
    rows = []
    for name, normalizer, pattern, ignore in [
        ("qwen2", normalizers.NFC(), r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", False),
        ("llama3", None, r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", True),
    ]:
        tokenizer = Tokenizer(models.BPE(ignore_merges=ignore))
        if normalizer:
            tokenizer.normalizer = normalizer
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        tokenizer.train_from_iterator(corpus(), trainer)
        tokenizer.add_special_tokens(["<|end|>", "<|end|>x"])
        tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("Größe", normalized=True, lstrip=True, rstrip=True), AddedToken("word", single_word=True)])
        end = tokenizer.token_to_id("<|end|>")
        tokenizer.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", end)])
        rows.append(row(name, tokenizer))
    for name, metaspace in [("llama2", False), ("mistral", True)]:
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        if metaspace:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        else:
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)], show_progress=False)
        spaced = [line.replace(" ", "\n▁").split("\n") for line in corpus()]
        tokenizer.train_from_iterator((word for line in spaced for word in line if word), trainer)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        saved = json.loads(tokenizer.to_str())
        saved["added_tokens"] = saved["added_tokens"][:3]
        rows.append(row(name, Tokenizer.from_str(json.dumps(saved))))
    return rows


def row(name, tokenizer):
    special = ["<|end|>", "<|end|>x", "<think>", "Größe", " Größe ", "word", "aword", "</s>", "<s>", "<unk>"]
    texts = ["".join(random.choice([random_text(6), random.choice(words) + " ", random.choice(words), random.choice(special)]) for _ in range(random.randint(1, 8))) for _ in range(60)]
    return {
        "name": name,
        "tokenizer": json.loads(tokenizer.to_str()),
        "texts": texts,
        "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in texts],
        "withSpecial": tokenizer.encode("the cat", add_special_tokens=True).ids,
    }


snippets = [
    "{{ none }}|{{ true }}|{{ 1.0 }}|{{ [1, 'a', none] }}|{{ {'a': [1, 'it\\'s'], \"b\": (1, 2)} }}",
    "{% for i in [1, 2, 3] %}{{ i }}{% if i == 2 %}x{% break %}{% endif %}y{% endfor %}",
    "{% for i in [1, 2, 3] %}a{% if i == 2 %}b{% continue %}{% endif %}c{% endfor %}",
    "{% for i in [1, 2] %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{{ 'a' == 1 }}{{ '1' == 1 }}{{ 1 == 1.0 }}{{ 1 == true }}{{ none == false }}{{ [1, [2]] == [1, [2]] }}{{ {'a': 1} == {'a': 1} }}{{ (1, 2) == [1, 2] }}",
    "{{ missing == none }}{{ missing is defined }}{{ missing is none }}{{ missing }}|{{ missing in ['a'] }}",
    "{{ 'a' in 'abc' }}{{ 'a' in ['a'] }}{{ 'a' in {'a': 1} }}{{ 1 in [1.0] }}{{ none in [none] }}{{ 'x' not in 'abc' }}",
    "{{ -7 % 3 }}|{{ 7 // 2 }}|{{ 7 / 2 }}|{{ -7 // 2 }}|{{ 2 ** 3 }}|{{ 'ab' * 3 }}|{{ [1] * 2 }}",
    "{{ message.items() | list }}|{{ message['items'] }}|{{ message.get('role') }}|{{ message.get('x', 'd') }}|{{ message.keys() | list }}",
    "{{ 'a-b-c'.split('-') }}|{{ ' a  b '.split() }}|{{ 'a-b-c'.split('-', 1) }}|{{ 'a-b-c'.replace('-', '+') }}|{{ 'aaa'.replace('a', 'b', 2) }}|{{ 'ab'.replace('', '.') }}",
    "{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xxa'.lstrip('x') }}|{{ 'axx'.rstrip('x') }}|{{ 'abc'.upper() }}|{{ 'aBC' | capitalize }}|{{ 'a b' | title }}",
    "{{ 'abc'[1] }}{{ 'abc'[-1] }}{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ [1, 2, 3][1:] }}{{ [1, 2, 3][::-1] }}{{ [1, 2, 3][5] }}",
    "{{ ['b', 'a'] | sort | join(', ') }}|{{ [1, 2] | join('-') }}|{{ 'abc' | join('.') }}|{{ [{'a': 1}, {'a': 2}] | map(attribute='a') | list }}|{{ ['a'] | map('upper') | list }}",
    "{{ tools | tojson }}|{{ tools | tojson(indent=2) }}|{{ {'b': 1, 'a': 'ü\"'} | tojson }}|{{ [] | tojson(indent=4) }}|{{ {'ü': none} | tojson(ensure_ascii=True) }}",
    "{{ {'b': 1, 'a': [true, 1.5]} | tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\nb' | indent('>>') }}",
    "{{ missing | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none | default('d', boolean=true) }}",
    "{{ 'ünï' | length }}|{{ [1, 2] | length }}|{{ {'a': 1} | length }}|{{ [1, 2] | first }}{{ [1, 2] | last }}|{{ [] | first }}|{{ 'abc' | first }}",
    "{% macro f(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}{{ f(a='q') }}",
    "{% macro tree(n) %}{{ n.v }}{% for c in n.kids %}({{ tree(c) }}){% endfor %}{% endmacro %}{{ tree({'v': 1, 'kids': [{'v': 2, 'kids': []}, {'v': 3, 'kids': []}]}) }}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in [1, 2, 3, 4] if x % 2 == 0 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}{% for c in 'ab' %}{{ c }}.{% endfor %}{% for x in missing %}a{% endfor %}",
    "{% set x %}a{{ 1 }}b{% endset %}{{ x }}{{ 'y' if x else 'n' }}{{ 'y' if missing }}|{{ x ~ 1 ~ none ~ true }}",
    "  {%- if true -%}  a  {%- endif -%}  b\n{# comment #}\n  {% if true %}\nc\n  {% endif %}\nd",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}|{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}",
    "{% generation %}x{% endgeneration %}{{ strftime_now('%d %b %Y|%Y-%m-%d %H:%M:%S %A %j') }}",
    "{{ raise_exception('no ' ~ 'way') }}",
    "{{ missing.x }}",
    "{{ message.missing.x }}",
    "{{ 'a' + 1 }}",
    "{{ 'a' + none }}",
    "{{ none | length }}",
    "{{ missing | tojson }}",
    "{{ message | nosuchfilter }}",
    "{{ message is nosuchtest }}",
    "{% for x in 5 %}{% endfor %}",
    "{% include 'x' %}",
    "{{ ''.__class__.__mro__ }}",
    "{% for i in range(100001) %}{% endfor %}",
    "{{ 'x' is string }}{{ 1 is number }}{{ [] is iterable }}{{ {} is mapping }}{{ none is none }}{{ 'a' is sequence }}{{ 3 is odd }}{{ true is boolean }}{{ 1 is integer }}{{ true is true }}",
    "{{ 1 < 2 and 'a' < 'b' }}{{ not true or false }}{{ 3 > 2 }}{{ 'a' ~ 'b' | upper }}{{ -1 | abs }}{{ '3' | int + 1 }}{{ 3.7 | int }}{{ [3, 1, 2] | sort(reverse=true) }}",
    "{{ [1, 1, 2] | unique | list }}{{ 'a,b' | replace(',', ';') }}{{ 'x' | safe }}{{ [1, 2] | reverse | list }}",
    "{{ {'a': 1, 'b': 2} | items | list }}|{{ {'b': 1, 'a': 2} | dictsort }}|{{ 'abc'.startswith('a') }}{{ 'abc'.endswith(('b', 'c')) }}",
]


def templates():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    environment.add_extension(Generation)
    import datetime

    now = datetime.datetime(2024, 7, 26, 12)

    class Refusal(Exception):
        pass

    def refuse(message):
        raise Refusal(message)

    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = now.strftime
    environment.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    message = {"role": "user", "content": "hi", "items": "own"}
    data = {
        "messages": [message, {"role": "assistant", "content": "yo"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"ü": {"type": "string"}}, "required": []}}}],
    }
    rows = []
    for snippet in snippets:
        source = "{% set message = messages[0] %}" + snippet
        try:
            rows.append({"template": source, "expected": environment.from_string(source).render(**data)})
        except Exception as error:
            rows.append({"template": source, "error": type(error).__name__, "message": str(error)})
    return {"data": data, "cases": rows}


for name, made in [("pieces", pieces()), ("tokenizers", trained()), ("templates", templates())]:
    (out / f"{name}.json").write_text(json.dumps(made, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(name, (out / f"{name}.json").stat().st_size)
