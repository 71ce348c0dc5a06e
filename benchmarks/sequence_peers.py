"""Text from pofx beside x-transformers, transformers (GPT-2) and markovify: the same text, CPU-minutes and judge.

    make bench-sequence-peers
    python benchmarks/sequence_peers.py --runs "shakespeare, pofx" "shakespeare, x-transformers" --minutes 5 --seeds 0

shakespeare: characters, split and judged as in sequences.py: nats a character of the last 10 %, each told from the 128
to 255 before it. All networks have width 128, 4 blocks and 2,048 characters a step. pofx's recipe is its own; the
others have none for so small a text: AdamW, decay .1, gradients of norm 1 at most, a hundred steps of warmup, then a
cosine to a tenth, at the better of two RATES on what is watched, each of which has all the minutes. They compute in
float32, as they come, pofx in bfloat16 where the processor has it.

names, sms: markovify has no likelihood. Its chain of names is one of STATE characters, that of messages its own of
words, one for each label; drawn texts beside unseen ones: total variation of runs of 1 to 4 characters, with as many
training lines in the place of draws (floor), self-BLEU, distinct, new. A chain that gives no text is asked again.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autoencoders import HERE, fit_batches
from pofx.codecs.text import TextCodec
from pofx.codecs.text_io import Texts
from pofx.metrics.gram_distance import gram_distance
from pofx.models import create
from record import asking, measure, spent
from sequences import apart, counted, repeats, texts

WIDTH, DEPTH, HEADS, SYMBOLS = 128, 4, 2, 2048
RATES = (1e-3, 3e-3)
WARMUP, PROBES = 100, 20
STATE = {"names": 4, "sms": 2}  # characters of a name, words of a message
DRAWN = 500
RUNS = [f"{data}, {who}" for data, many in {
    "shakespeare": ("pofx", "x-transformers", "transformers"), "names": ("pofx", "markovify"),
    "sms": ("pofx", "markovify")}.items() for who in many]  # fmt: skip
PACKAGES = ("torch", "x-transformers", "transformers", "markovify")
Fitted = tuple[dict[str, float], Callable[[int], list[str]] | None]


def pofx(codec: TextCodec, learned: Texts, watched: Texts, unseen: Texts, minutes: float, seed: int) -> Fitted:
    words = {"dropout": 0.1} if codec.ends else {}
    model = create("autoregressive", codec.spec, seed, width=WIDTH, depth=DEPTH, heads=HEADS, **words)
    train, valid = (model.prepare(*apart(codec, part)) for part in (learned, watched))
    told = fit_batches(model, train, valid, minutes, seed)
    model.eval()
    x, c = apart(codec, unseen)
    nats = -model.log_prob(x, c).sum() / counted(codec, x).sum()

    def draw(n: int) -> list[str]:
        codes = np.arange(n, dtype=np.int32) % max(len(codec.levels), 1)
        noise = model.noise(n, torch.Generator().manual_seed(seed))
        rows = model.decode(noise, {codec.label: codes} if codec.levels else None)
        return [codec.text(row) for row in rows["text"]]

    size = sum(p.numel() for p in model.parameters())
    return {"nats": float(nats), "parameters": size, "steps": told["steps"]}, draw


# -- networks of others ------------------------------------------------------------------------------------------------


def x_transformers(symbols: int, sites: int) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=WIDTH, depth=DEPTH, heads=HEADS, attn_dim_head=WIDTH // HEADS, rotary_pos_emb=True)
    return TransformerWrapper(num_tokens=symbols, max_seq_len=sites, attn_layers=layers), lambda net, x: net(x)


def gpt2(symbols: int, sites: int) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=symbols, n_positions=sites, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS,
                        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                        bos_token_id=None, eos_token_id=None)  # fmt: skip
    return GPT2LMHeadModel(config), lambda net, x: net(x).logits


def peer(
    made: Callable[[int, int], tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]],
    codec: TextCodec, learned: Texts, watched: Texts, unseen: Texts, minutes: float, seed: int,
) -> Fitted:  # fmt: skip
    """The better of two rates on what is watched."""
    rows, looked, judged = (
        torch.from_numpy(apart(codec, part)[0]["text"]).long() for part in (learned, watched, unseen)
    )
    sites, fits = codec.sites, []
    for rate in RATES:
        torch.manual_seed(seed)
        net, say = made(len(codec.symbols), sites)

        def missed(x: Tensor, net: nn.Module = net, say: Any = say) -> Tensor:
            return cross_entropy(say(net, x[:, :-1]).transpose(1, 2), x[:, 1:], reduction="none")

        @torch.no_grad()
        def nats(x: Tensor, net: nn.Module = net, missed: Any = missed) -> float:
            net.eval()
            total = sum(float(missed(part)[:, sites // 2 - 1 :].sum()) for part in x.split(16))
            return total / (len(x) * (sites // 2))

        steps = trained(net, missed, rows, SYMBOLS // sites, rate, minutes, seed)
        fits.append((nats(looked), nats(judged), rate, steps, sum(p.numel() for p in net.parameters())))
    _, value, rate, steps, size = min(fits)
    return {"nats": value, "parameters": size, "steps": steps, "rate": rate}, None


def trained(
    net: nn.Module, missed: Callable[[Tensor], Tensor], rows: Tensor, batch: int, rate: float, minutes: float, seed: int
) -> int:
    """So many CPU-minutes of steps; how many."""
    generator, began = torch.Generator().manual_seed(seed), spent()
    optimiser = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.1)
    step, total = 0, 10**9
    while step < total:
        if step == PROBES:
            total = max(int(60 * minutes / (spent() - began) * PROBES), PROBES)
        ahead = min(1.0, (step + 1) / WARMUP)
        over = step / total
        for group in optimiser.param_groups:
            group["lr"] = rate * ahead * (0.1 + 0.45 * (1 + math.cos(math.pi * over)))
        loss = missed(rows[torch.randint(len(rows), (batch,), generator=generator)]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
    return step


def markovify(data: str, learned: Texts, seed: int) -> Fitted:
    import markovify as library

    random.seed(seed)  # what it draws from

    class Names(library.Text):  # the chain of characters that its page shows how to make
        def sentence_split(self, text: str) -> list[str]:
            return text.split("\n")

        def word_split(self, sentence: str) -> list[str]:
            return list(sentence)

        def word_join(self, words: list[str]) -> str:
            return "".join(words)

    kind = Names if data == "names" else library.NewlineText
    labels = np.asarray(learned.labels) if learned.labels is not None else np.zeros(len(learned.lines), int)
    told = [np.flatnonzero(labels == label) for label in sorted(set(labels.tolist()))]
    chains = [
        kind("\n".join(learned.lines[i].replace("\n", " ") for i in rows), state_size=STATE[data]) for rows in told
    ]

    def draw(n: int) -> list[str]:
        drawn: list[str] = []
        while len(drawn) < n:
            text = chains[len(drawn) % len(chains)].make_sentence()
            drawn += [text] if text else []
        return drawn

    return {}, draw


# -- the judge ---------------------------------------------------------------------------------------------------------


def run(name: str, seed: int, minutes: float) -> dict[str, Any]:
    data, who = name.split(", ")
    learned, watched, unseen = texts(data)
    codec = TextCodec.learn(learned)
    began = spent()
    parts = codec, learned, watched, unseen, minutes, seed
    if who == "pofx":
        told, draw = pofx(*parts)
    elif who == "markovify":
        told, draw = markovify(data, learned, seed)
    else:
        told, draw = peer(x_transformers if who == "x-transformers" else gpt2, *parts)
    row: dict[str, Any] = {"run": name, "seed": seed, "minutes": minutes, **told, "cpu_seconds": spent() - began}
    if draw is None or not codec.ends:  # documents are judged by likelihood alone
        return row
    began = spent()
    drawn = draw(DRAWN)
    row["ms a sample"] = 1e3 * (spent() - began) / DRAWN
    known, real = list(learned.lines), list(unseen.lines)
    some = [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:DRAWN]]
    for key, lines in (("drawn", drawn), ("floor", some)):
        row[key] = repeats(lines, known) | {"distance": gram_distance(lines, real), "first": lines[:3]}
    return row


def printed(rows: list[dict[str, Any]]) -> str:
    lines = ["|  | minutes | parameters | steps | nats a symbol | distance (floor) | self-BLEU (floor) | distinct "
             "| new | ms a sample |", "|---|" + "---|" * 9]  # fmt: skip
    for row in rows:

        def told(key: str, form: str, row: dict[str, Any] = row) -> str:
            return format(row[key], form) if key in row else ""

        def beside(key: str, row: dict[str, Any] = row) -> str:
            return f"{row['drawn'][key]:.3f} ({row['floor'][key]:.3f})" if "drawn" in row else ""

        plain = [f"{row['drawn'][key]:.2f}" if "drawn" in row else "" for key in ("distinct", "new")]
        cells = [row["run"], f"{row['minutes']:g}" if "steps" in row else "", told("parameters", ","),
                 told("steps", ","), told("nats", ".3f"), beside("distance"), beside("self-BLEU"), *plain,
                 told("ms a sample", ".1f")]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "sequence_peers.json", data=(), seeds=(0,))
    ask.add_argument("--runs", nargs="+", default=RUNS, choices=RUNS)
    ask.add_argument("--minutes", type=float, default=5.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = [(name, seed, told.minutes) for seed in told.seeds for name in told.runs]
    measure(told, ("run", "seed", "minutes"), jobs, run, printed, PACKAGES)


if __name__ == "__main__":
    main()
