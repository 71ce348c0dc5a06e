"""One HTML page of a model of sounds: figures, and sounds with their spectra, played from the page itself."""

import base64
import io
from html import escape

import numpy as np

from ..codecs.audio_io import Sounds, bytes_of
from ..evaluate_audio import AudioEvidence

TALL, WIDE = 2, 3  # pixels of a level
DECIBELS = 70.0  # of a picture
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse}}
td,th{{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}}figure{{display:inline-block;margin:.5em}}
figure img{{display:block;height:12em;max-width:20em}}audio{{width:14em;height:2em}}</style>
<h1>{title}</h1>{words}{tables}<h2>Drawn by the model</h2>{drawn}<h2>Unseen sounds, and these rebuilt</h2>{pairs}"""


def page(title: str, evidence: AudioEvidence, window: int, shown: int) -> str:
    """The page; `shown` samples and half as many pairs are on it."""
    spaces = [["kernel distance from unseen sounds", *next(iter(evidence.distances.values()))]]
    spaces += [[name, *(f"{v:.4g}" for v in told.values())] for name, told in evidence.distances.items()]
    figures = [["figure", "value"], *([k, f"{v:.4g}"] for k, v in evidence.figures.items())]
    pairs = ((i, half) for i in range(min(shown // 2, len(evidence.pairs[0]))) for half in evidence.pairs)
    return PAGE.format(
        title=escape(title),
        words="".join(f"<p>{escape(word)}</p>" for word in evidence.words),
        tables=_table(spaces) + _table(figures),
        drawn="".join(_figure(evidence.drawn, i, window) for i in range(min(shown, len(evidence.drawn)))),
        pairs="".join(_figure(sounds, i, window) for i, sounds in pairs),
    )


def _table(rows: list[list[str]]) -> str:
    tags = ["th", *["td"] * (len(rows) - 1)]
    cells = ["".join(f"<{tag}>{escape(c)}</{tag}>" for c in row) for row, tag in zip(rows, tags, strict=True)]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _figure(sounds: Sounds, i: int, window: int) -> str:
    clip = sounds.clips[i]
    label = "" if sounds.labels is None else f"<figcaption>{escape(str(sounds.labels[i]))}</figcaption>"
    player = f'<audio controls src="data:audio/wav;base64,{_text(bytes_of(clip, sounds.rate))}"></audio>'
    image = f'<img alt="spectrum" src="data:image/png;base64,{_text(picture(clip, window))}">'
    return f"<figure>{image}{player}{label}</figure>"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture(clip: np.ndarray, window: int) -> bytes:
    """The spectrum of a sound over time as a PNG, high frequencies at the top, loud dark."""
    import torch
    from PIL import Image

    from ..nn.stft import spectrum

    loud = 20 * spectrum(torch.from_numpy(clip)[None], window)[0].abs().clamp(min=1e-9).log10().numpy()
    shade = np.clip((loud - loud.max()) / DECIBELS, -1, 0) * -255
    image = Image.fromarray(shade.astype(np.uint8).T[::-1].repeat(TALL, 0).repeat(WIDE, 1))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
