"""The command line: `pofx VERB [MODEL.pofx] [INPUT ...] -o OUT`, each verb a call of the Python verb of its name."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_audio import ask_how_guided, words_of_guidance
from .cli_codes import compress, decompress, interpolate
from .cli_fitting import ask_to_fit, ask_to_read, json_of, settings_of, words_of_fitting, words_of_reading
from .cli_photos import ask_of_task, ask_to_restore, run_restoring, verb_of, words_of_task
from .cli_places import ask_where, ask_where_to, source_at, target_at, written
from .cli_polish import ask_to_polish, run_polish  # noqa: F401
from .cli_tables import (
    ask_for_tables,
    ask_how_many,
    complete_several,
    evaluate_several,
    fit_several,
    profile_several,
    sample_several,
    score_several,
    wants_tables,
)
from .cli_text import (
    ask_how_bold,
    ask_to_continue,
    ask_to_fill,
    continue_text,
    shown,
    source_of,
    words_of_boldness,
    words_of_filling,
)
from .errors import Failed, PofxError
from .version import __version__

if TYPE_CHECKING:
    from .nn.certificate import Certificate

EXAMPLES = """examples:
  pofx fit adult.csv -o adult.pofx --minutes 1
  pofx sample adult.pofx -n 1000000 -o synthetic.parquet --given "age in [20,30]" --given "sex = Female"
  pofx score adult.pofx new.csv -o scored.csv
  pofx complete adult.pofx gaps.csv -o full.csv
  pofx complete digits.pofx images.npz --hidden lower -o full.npz --draws 4
  pofx encode vae.pofx adult.csv -o codes.csv
  pofx edit vae.pofx adult.csv -o richer.csv --by income --toward high
  pofx denoise photo.jpg -o clean.png
  pofx upscale photo.png -o large.png --scale 2
  pofx fit photos/ -o enlarge.pofx --task upscale --scale 4 --minutes 10
  pofx prior vae.pofx -o two.pofx --model nsf --minutes 1
  pofx anomaly vae.pofx new.csv -o judged.csv
  pofx evaluate adult.pofx --target income -o report.html --json metrics.json
  pofx evaluate --synthetic any.csv --train train.csv --holdout test.csv -o report.html
  pofx check flow.pofx
  pofx plot flow.pofx -o flow.html --data adult.csv --columns age education
  pofx doctor data.csv --model vae
  pofx profile data.csv
  pofx fit shop.db --table customers -o shop.pofx
  pofx fit shop.db --tables all -o whole.pofx --minutes 1
  pofx sample whole.pofx --scale 2 -o made.db
  pofx sample shop.pofx -n 1000 -o postgresql://ann@host/shop --table synthetic
"""


def parser() -> argparse.ArgumentParser:
    """The command line's words."""
    ask = argparse.ArgumentParser(
        prog="pofx",
        description="Learns p(x) from data and uses it: sample it, score it, complete it, judge it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ask.add_argument("--version", action="version", version=f"pofx {__version__}")
    verbs = ask.add_subparsers(dest="verb", metavar="VERB", required=True)
    about_files = (_evaluate, _check, _plot, _doctor, _profile, _info, _models)
    for add in (_fit, _sample, _continue, _score, _complete, *CODING, _restoring, _prior, _polish, *about_files):
        add(verbs)
    return ask


def _verb(verbs: Any, name: str, words: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    verb.add_argument("--quiet", action="store_true", help="no progress and no words, only errors")
    return verb


def _fit(verbs: Any) -> None:
    verb = _verb(verbs, "fit", "learn p(x) of a table, of images, of text, music or sounds")
    ask_to_fit(verb)
    verb.add_argument("-o", "--output", required=True, help="the model file to write")
    verb.add_argument("--minutes", type=float, help="how long it may take")
    verb.add_argument("--steps", type=int, help="how many steps to train, instead of minutes")
    ask_of_task(verb)
    ask_for_tables(verb)
    verb.add_argument("--no-guard", action="store_true", help="no verdict at the end, and none watched on the way")
    verb.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="a fitted model of a table to go on from: new rows, or more minutes",
    )
    verb.add_argument("--resume", action="store_true", help="go on where a killed fit with the same words stopped")


def _sample(verbs: Any) -> None:
    verb = _verb(verbs, "sample", "draw new rows")
    verb.add_argument("model", metavar="MODEL")
    ask_how_many(verb)
    verb.add_argument("-o", "--output", help="a file, folder or database; without it text is printed")
    ask_where_to(verb, "--table", "--sheet")
    verb.add_argument("--given", action="append", default=[], help='a condition, "age in [20,30]"; repeated: all hold')
    verb.add_argument("--balance", metavar="COLUMN", help="whose levels get equal shares; or shares of values as JSON")
    verb.add_argument(
        "--truncation", type=float, default=1.0, help="below 1: nearer to the middle, less varied (gan, wgan)"
    )
    verb.add_argument("--solver-steps", type=int, help="of the differential equation (ffjord, flow_matching)")
    verb.add_argument("--seed", type=int, help="drawn and printed if not given")
    ask_how_bold(verb)
    ask_how_guided(verb)
    _failed(verb)


def _continue(verbs: Any) -> None:
    verb = _verb(verbs, "continue", "go on with a text, a piece of music or a sound")
    ask_to_continue(verb)
    ask_how_guided(verb)
    _failed(verb)


def _failed(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--allow-failed", action="store_true", help="of a model whose fit failed all the same")


def _score(verbs: Any) -> None:
    verb = _verb(verbs, "score", "add to each row its log-probability, and what made it unlikely or how sure it is")
    verb.add_argument("model", metavar="MODEL")
    verb.add_argument("input")
    verb.add_argument("-o", "--output", required=True)
    ask_where(verb)
    ask_where_to(verb)
    verb.add_argument("--draws", type=int, help="of a bound by importance (vae, iwae, hvae; default: the model's 64)")


def _complete(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "complete",
        "fill missing cells; of images labels, or hidden pixels; of text holes; of music voices or bars",
    )
    verb.add_argument("model", metavar="MODEL")
    ask_to_fill(verb)
    ask_where(verb)
    ask_where_to(verb)
    verb.add_argument("--draws", type=int, help="several completions of each row instead of the best one")
    verb.add_argument(
        "--hidden", metavar="PART", help="of images: lower, upper, left, right, or a picture, bright where hidden"
    )
    verb.add_argument("--seed", type=int, default=0)
    _failed(verb)


def _prior(verbs: Any) -> None:
    verb = _verb(verbs, "prior", "give an autoencoder another law of its codes: any model that can be sampled")
    verb.add_argument("autoencoder", metavar="MODEL", help="its model file")
    verb.add_argument("-o", "--output", required=True, help="the model file to write")
    verb.add_argument("--model", default="mixture", help="the prior, a name of `pofx models` (default mixture)")
    verb.add_argument("--data", help="what was learned from, if it is no longer where it was")
    verb.add_argument("--minutes", type=float, help="how long it may take")
    verb.add_argument("--steps", type=int, help="how many steps to train, instead of minutes")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda")
    verb.add_argument("--threads", type=int, help="of the processor")
    verb.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an argument of the prior")


def _coding(name: str, words: str, inputs: Sequence[str] = ("input",)) -> Callable[[Any], None]:
    def add(verbs: Any) -> None:
        verb = _verb(verbs, name, words)
        for one in ("model", *inputs):
            verb.add_argument(one, metavar="MODEL" if one == "model" else None)
        verb.add_argument("-o", "--output", required=True)
        if name not in PACKED:
            ask_where_to(verb)
        if name not in PACKED and inputs == ("input",):
            ask_where(verb)
        if name == "interpolate":
            verb.add_argument("--steps", type=int, default=8, help="rows from one to the other (default 8)")
        if name == "edit":
            _editing(verb)
        if name in MADE:
            _failed(verb)

    return add


def _editing(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--toward", required=True, metavar="LABEL", help="what rows or images are to become")
    verb.add_argument("--away", metavar="LABEL", help="the label that the direction comes from (default: all others)")
    verb.add_argument("--amount", type=float, default=1.0, help="1, from the mean of one to that of the other, or else")
    verb.add_argument("--by", metavar="COLUMN", help="of a table, the column of labels (default: the only condition)")
    verb.add_argument("--labels", metavar="SOURCE", help="examples with labels (default: what was learned from)")


EDITING = ("toward", "away", "amount", "by", "labels")
PACKED = ("compress", "decompress")  # verbs of images alone
MADE = ("decode", "reconstruct", "interpolate", "edit")  # verbs that show what a model makes


CODING = (
    _coding("encode", "give the code of each row"),
    _coding("decode", "give the rows that codes stand for"),
    _coding("reconstruct", "give the rows that the codes of rows stand for"),
    _coding("interpolate", "give rows on the way from each row of one file to that of another", ("first", "second")),
    _coding("edit", "change the label of rows or images: the condition, or codes along a labelled direction"),
    _coding("compress", "write images to a file as short as the model's bound says (hvae, vae, iwae)"),
    _coding("decompress", "give the images of a compressed file"),
    _coding("anomaly", "add to each row how strange it is, and how many rows are as strange"),
)


def _restoring(verbs: Any) -> None:
    for name, words in (
        ("denoise", "take noise out of photos and videos, or of rows, images or sounds by a model of such"),
        ("upscale", "enlarge photos and videos, or images by a model of larger ones; give sounds high frequencies"),
    ):
        verb = _verb(verbs, name, words)
        ask_to_restore(verb, name)
        _failed(verb)


def _evaluate(verbs: Any) -> None:
    verb = _verb(verbs, "evaluate", "judge a model of rows or images, or anybody's synthetic rows")
    verb.add_argument("model", metavar="MODEL", nargs="?")
    verb.add_argument("--synthetic", help="anybody's synthetic table, with --train, instead of a model")
    verb.add_argument("--train", "--data", help="the table that was learned from")
    verb.add_argument("--holdout", help="real rows that were never learned from (default: the model's test rows)")
    verb.add_argument("--target", help="a column to predict, for the figures of use")
    verb.add_argument(
        "--sandwich", type=int, default=0, metavar="N", help="log p of N drawn rows from both sides (vae)"
    )
    verb.add_argument("--privacy", action="store_true", help="of a table: attacks on training rows beside unseen ones")
    verb.add_argument("--binarise", action="store_true", help="draw grey pixels black or white once (vae of such)")
    verb.add_argument("--inception", metavar="PATH", help="weights of Inception (.safetensors): FID and KID of images")
    verb.add_argument("--rows", type=int, metavar="N", help="unseen images at most (default 1000)")
    verb.add_argument("--beside", metavar="MODEL", help="of text: train that as long, and judge both (autoregressive)")
    verb.add_argument("-o", "--output", help="the report, one HTML file")
    verb.add_argument("--json", help="the figures")
    verb.add_argument("--fields", metavar="JSON", help="how columns are read (with --synthetic)")
    verb.add_argument("--seed", type=int, default=0)


def _check(verbs: Any) -> None:
    verb = _verb(verbs, "check", "certify the layers of a flow: inverses, slopes, limits (exit code 1 if one fails)")
    verb.add_argument("model", metavar="MODEL")
    verb.add_argument("input", metavar="DATA", nargs="?", help="rows to check on, instead of the model's own")
    verb.add_argument("--rows", type=int, default=2048, help="how many (default 2048)")
    verb.add_argument("--seed", type=int, default=0)


def _plot(verbs: Any) -> None:
    verb = _verb(verbs, "plot", "draw what a model has learned: samples, densities, a flow's way from noise to data")
    verb.add_argument("model", metavar="MODEL")
    verb.add_argument("-o", "--output", required=True, help="a page (.html), an image (.png) or an animation (.gif)")
    verb.add_argument("--columns", nargs="+", metavar="COLUMN", help="up to five (default: the first ones)")
    verb.add_argument("--data", help="real rows to draw beside the samples")
    verb.add_argument("--rows", type=int, default=2000, help="how many to draw (default 2000)")
    verb.add_argument("--seed", type=int, default=0)
    _failed(verb)


def _doctor(verbs: Any) -> None:
    verb = _verb(verbs, "doctor", "try every phase of a fit on a few steps, and tell how long it would take")
    ask_to_fit(verb)


def _profile(verbs: Any) -> None:
    verb = _verb(verbs, "profile", "show how each column is read, and why")
    verb.add_argument("input")
    ask_to_read(verb)
    ask_for_tables(verb)


def _polish(verbs: Any) -> None:
    ask_to_polish(_verb(verbs, "polish", "choose rows of a synthetic table that have known margins, as of a census"))


def _info(verbs: Any) -> None:
    _verb(verbs, "info", "show what a model file is").add_argument("model", metavar="MODEL")


def _models(verbs: Any) -> None:
    _verb(verbs, "models", "list the models and what each can do")


# -- what the verbs do ------------------------------------------------------------------------------------------------


def run_fit(told: argparse.Namespace) -> str:
    """pofx fit"""
    from . import store
    from .learn import fit

    output = Path(told.output)
    store.check_folder(output)
    model = fit_several(told) if wants_tables(told) else fit(
        told.input, minutes=told.minutes, steps=told.steps, quiet=told.quiet, guard=not told.no_guard,
        checkpoint=output.with_name(output.name + ".checkpoint"), resume=told.resume, **words_of_fitting(told),
        **words_of_task(told), start=told.start,
    )  # fmt: skip
    model.save(output)
    said = Said(f"{model.info()}\nwrote      {output} ({output.stat().st_size / 2**20:.1f} MiB)")
    said.ok = model.verdict != "FAIL"
    return said


class Said(str):
    """Words, and whether the work behind them succeeded."""

    ok = True


def run_sample(told: argparse.Namespace) -> str:
    """pofx sample"""
    from .balance import read_balance
    from .bundle import load

    model = load(told.model)
    if told.output is None and (model.many or model.codec.kind != "text"):
        raise PofxError("expected an output (-o), which a model of text alone can do without: name a file or folder")
    if model.many:
        return sample_several(told, model)
    if told.rows is None or told.scale is not None:
        raise PofxError("expected a number of rows (-n), of a model of several tables a --scale: give -n")
    words = (
        {"seed": told.seed, "path": target_at(told), "quiet": told.quiet}
        | words_of_boldness(told)
        | words_of_guidance(told)
    )
    words |= {"truncation": told.truncation} if told.truncation != 1 else {}
    words |= {"balance": read_balance(told.balance)} if told.balance else {}
    words |= {"solver_steps": told.solver_steps} if told.solver_steps is not None else {}
    rows = verb_of(model, "sample", words)(told.rows, told.given, allow_failed=told.allow_failed, **words)
    if told.output is None:
        return f"{shown(rows)}\n(seed {model.last_seed}){model.remarks()}"
    return f"wrote {rows:,} rows to {written(told)} (seed {model.last_seed}){model.remarks()}"


def run_score(told: argparse.Namespace) -> str:
    """pofx score"""
    from .bundle import load

    model = load(told.model)
    if model.many:
        return score_several(told, model)
    words = {} if told.draws is None else {"draws": told.draws}
    rows = verb_of(model, "score", words)(source_at(told), path=target_at(told), **words)
    bound = " (a lower bound)" if "bound" in model.model.abilities else ""
    return f"wrote {rows:,} rows with log_prob in nats{bound} to {written(told)}"


def run_complete(told: argparse.Namespace) -> str:
    """pofx complete"""
    from .bundle import load

    model = load(told.model)
    if model.many:
        return complete_several(told, model)
    words = {"seed": told.seed, "quiet": told.quiet, "allow_failed": told.allow_failed}
    words |= {} if told.draws is None else {"draws": told.draws}
    words |= {} if told.hidden is None else {"hidden": told.hidden}
    words |= words_of_filling(told)
    rows = verb_of(model, "complete", words)(source_of(told), path=target_at(told), **words)
    return shown(rows) if told.output is None else f"wrote {rows:,} rows to {written(told)}"


def run_coding(told: argparse.Namespace) -> str:
    """pofx encode, decode, reconstruct, edit, anomaly"""
    from .bundle import load
    from .codecs.writing import check_path

    model, target = load(told.model), target_at(told)
    if not (told.verb in model.into_folders and Path(told.output).is_dir()):
        check_path(target)
    words = {"allow_failed": told.allow_failed} if told.verb in MADE else {}
    words |= {name: getattr(told, name) for name in EDITING} if told.verb == "edit" else {}
    rows = getattr(model, told.verb)(source_at(told), path=target, **words)
    return f"wrote {rows:,} rows to {written(told)}"


run_encode = run_decode = run_reconstruct = run_edit = run_anomaly = run_coding
run_denoise = run_upscale = run_restoring
run_continue = continue_text
run_compress, run_decompress, run_interpolate = compress, decompress, interpolate


def run_prior(told: argparse.Namespace) -> str:
    """pofx prior"""
    from . import store
    from .bundle import Fitted, load

    output = Path(told.output)
    store.check_folder(output)
    model = load(told.autoencoder).with_prior(
        told.model, data=told.data, minutes=told.minutes, steps=told.steps, seed=told.seed, device=told.device,
        threads=told.threads, quiet=told.quiet, **settings_of(told.set, Fitted.with_prior),
    )  # fmt: skip
    model.save(output)
    return f"{model.info()}\nwrote      {output} ({output.stat().st_size / 2**20:.1f} MiB)"


def run_evaluate(told: argparse.Namespace) -> str:
    """pofx evaluate"""
    out = {"report": told.output, "json": told.json, "seed": told.seed, "quiet": told.quiet}
    if told.synthetic is not None:
        if told.model is not None or told.train is None:
            raise PofxError(
                "expected --synthetic with --train and without a model: pofx evaluate --synthetic S --train T"
            )
        from .judging import judge

        more = {"fields": json_of(told.fields), "privacy": told.privacy}
        evidence = judge(told.synthetic, told.train, told.holdout, told.target, **more, **out)
    elif told.model is None:
        raise PofxError("expected a model file, or --synthetic with --train")
    else:
        from .bundle import load

        model = load(told.model)
        if model.many:
            return evaluate_several(told, model)
        more = {k: getattr(told, k) for k in ("binarise", "inception", "rows") if getattr(told, k)}
        if more and not hasattr(model, "compress"):
            raise PofxError(f"expected --{next(iter(more))} with a model of images, got one of a table: leave it out")
        if told.privacy:
            if model.codec.kind != "table":
                raise PofxError(
                    f"expected --privacy with a model of a table, got one of {model.codec.kind}: leave it out"
                )
            more["privacy"] = True
        if told.beside is not None:
            if model.codec.kind != "text":
                raise PofxError(f"expected --beside with a model of text, got one of {model.codec.kind}: leave it out")
            more["beside"] = told.beside
        evidence = model.evaluate(told.holdout, told.target, train=told.train, sandwich=told.sandwich, **out, **more)
    return evidence.summary() + "".join(f"\nwrote {path}" for path in (told.output, told.json) if path)


def run_check(told: argparse.Namespace) -> "Certificate":
    """pofx check"""
    from .bundle import load

    return load(told.model).check(told.input, rows=told.rows, seed=told.seed)


def run_plot(told: argparse.Namespace) -> str:
    """pofx plot"""
    from .bundle import load

    words = {"data": told.data, "rows": told.rows, "seed": told.seed, "allow_failed": told.allow_failed}
    load(told.model).plot(told.output, told.columns, **words)
    return f"wrote {told.output}"


def run_doctor(told: argparse.Namespace) -> str:
    """pofx doctor"""
    from .checkup import doctor

    return str(doctor(told.input, **words_of_fitting(told)))


def run_profile(told: argparse.Namespace) -> str:
    """pofx profile"""
    if wants_tables(told):
        return profile_several(told)
    from .codecs.text_io import holds_text

    if holds_text(told.input):
        from .codecs.text import TextCodec
        from .codecs.text_io import read_texts

        texts, _ = read_texts(told.input, encoding=told.encoding)
        return "\n".join([*(f"{k}: {v}" for k, v in texts.notes.items()), TextCodec.learn(texts).profile()])
    from .codecs.gleaning import surveyed

    codec, notes = surveyed(told.input, words_of_reading(told), json_of(told.fields))
    return "\n".join([*(f"{k}: {v}" for k, v in notes.items()), codec.profile()])


def run_info(told: argparse.Namespace) -> str:
    """pofx info"""
    from .bundle import load

    return load(told.model).info()


def run_models(told: argparse.Namespace) -> str:
    """pofx models"""
    from .models import load_class, names
    from .models.model import ABILITIES

    lines = [f"{'model':<16}{'family':<14}can"]
    for name in names():
        cls = load_class(name)
        can = [f"{a}*" if a == "log_prob" and "bound" in cls.abilities else a for a in ABILITIES if a in cls.abilities]
        can += [f"{a} ({words.lower()})" for a, words in cls.optional.items()]
        lines.append(f"{name:<16}{cls.family:<14}{', '.join(c for c in can if c != 'bound')}")
    return "\n".join([*lines, "* a lower bound"])


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command line: 0, or 1 where the work or a check failed, 2 where the call was wrong, 130 after Ctrl-C."""
    told = parser().parse_args(words)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda said, *_: print(f"pofx {told.verb}: warning: {said}", file=sys.stderr)
            said = globals()[f"run_{told.verb}"](told)
    except Failed as error:
        print(f"pofx {told.verb}: {error}", file=sys.stderr)
        return 1
    except PofxError as error:
        print(f"pofx {told.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"pofx {told.verb}: stopped", file=sys.stderr)
        return 130
    if not told.quiet or told.verb in ("profile", "info", "models") or getattr(told, "output", "") is None:
        _printed(str(said))  # what was asked for, where it went to no file
    return 0 if getattr(said, "ok", True) else 1


def _printed(said: str) -> None:
    """Prints what may go into `head`, which closes its end when it has enough: the rest goes nowhere."""
    try:
        print(said, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
