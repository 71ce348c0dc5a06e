"""Videos: frames in the order of time and of the right colours; rewritten ones keep all that is not asked to change."""

import builtins
import os
import resource
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pofx.codecs import video
from pofx.errors import CodecError, Unsupported

av = pytest.importorskip("av", reason="needs PyAV: pip install pofx[video]")

CLIPS = Path(os.environ.get("POFX_DATA", Path(__file__).parents[3] / "shared" / "data")) / "video_clips"
TICK = Fraction(1, 24_000)
STEADY = [1000 * i for i in range(12)]
VARIED = [600 + 300 * i * i for i in range(12)]
LATE = [1001 * i + 4321 for i in range(12)]


def scene(i: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture that moves; its mean grows by 2 a frame."""
    y, x = np.mgrid[:height, :width] / 64
    waves = [np.sin(3 * x + 2 * y + 0.1 * i), np.cos(2 * x - 3 * y), np.sin(x + 4 * y - 0.1 * i)]
    return (90 + 2 * i + 14 * np.stack(waves, -1)).round().astype(np.uint8)


def clip(
    path: Path,
    starts: list[int] = STEADY,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: bool = False,
    subtitle: str | None = None,
    turn: int = 0,
    options: dict[str, str] | None = None,
    holder: dict[str, str] | None = None,
    **context: int,
) -> Path:
    """A clip of `scene`, with a tone and a subtitle."""
    with av.open(str(path), "w", options=holder or {}) as made:
        pictures = made.add_stream(codec, rate=24, options={"crf": "0"} if options is None else options)
        coder = pictures.codec_context
        coder.height, coder.width, coder.pix_fmt, coder.time_base = *size, pixels, TICK
        for name, value in context.items():
            setattr(coder, name, value)
        if turn:
            pictures.set_display_rotation(turn)
        tone = made.add_stream("aac", rate=48_000) if sound else None
        text = made.add_stream(subtitle) if subtitle else None
        if text is not None:
            text.codec_context.subtitle_header = b"[Script Info]\n\n[Events]\nFormat: Layer, Text\n"
            text.time_base = Fraction(1, 1000)
        made.metadata["title"] = "waves"
        made.set_chapters(
            [{"id": 1, "start": 0, "end": 250, "time_base": Fraction(1, 1000), "metadata": {"title": "a"}}]
        )
        for i, start in enumerate(starts):
            frame = av.VideoFrame.from_ndarray(scene(i, *size), "rgb24").reformat(
                format=pixels,
                dst_colorspace={2: 5, 6: 5}.get(coder.colorspace, coder.colorspace),
                dst_color_range=coder.color_range or 1,
                src_color_range=2,
                interpolation=video.Painter()._how,
            )
            frame.pts, frame.time_base = start, TICK
            made.mux(pictures.encode(frame))
        made.mux(pictures.encode(None))
        if tone is not None:
            for i in range(24):
                wave = np.sin((np.arange(1024) + 1024 * i) / 17, dtype=np.float32)[None].repeat(2, 0)
                frame = av.AudioFrame.from_ndarray(wave, "fltp", layout="stereo")
                frame.pts, frame.sample_rate, frame.time_base = 1024 * i, 48_000, Fraction(1, 48_000)
                made.mux(tone.encode(frame))
            made.mux(tone.encode(None))
        if text is not None:
            for start, words in ((0, b"one"), (200, b"two")):
                packet = av.Packet(len(words).to_bytes(2, "big") + words if subtitle == "mov_text" else words)
                packet.pts = packet.dts = start
                packet.duration, packet.time_base, packet.stream = 150, Fraction(1, 1000), text
                made.mux(packet)
    return path


def packets(path: Path, kind: str) -> list[tuple[float, float, bytes]]:
    with av.open(str(path)) as held:
        streams = [stream for stream in held.streams if stream.type == kind]
        read = [packet for packet in held.demux(streams) if packet.size] if streams else []
        return [(float(p.pts * p.time_base), float(p.duration * p.time_base), bytes(p)) for p in read]


def times(path: Path) -> list[float]:
    with av.open(str(path)) as held:
        return [float(frame.pts * frame.time_base) for frame in held.decode(video=0)]


def same(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    return arrays


def kept(source: Path, name: str, change: video.Change = same, **how: object) -> Path:
    out = source.parent / name
    video.rewrite(source, out, change, **({"quality": 0, "quiet": True} | how))
    return out


def apart(one: np.ndarray, two: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - two).max())


@pytest.mark.parametrize("holder", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("starts", [STEADY, VARIED, LATE], ids=["steady", "varied", "late"])
def test_times_lengths_and_sound_stay_as_they_are(tmp_path: Path, holder: str, starts: list[int]) -> None:
    source = clip(
        tmp_path / f"a.{holder}",
        starts,
        sound=True,
        holder={} if holder == "mkv" else {"movie_timescale": "24000"},
    )
    out = kept(source, f"b.{holder}")
    before, after = video.info(source), video.info(out)
    assert (after.height, after.width, after.frames, after.rate) == (48, 64, before.frames, before.rate)
    assert after.seconds == pytest.approx(before.seconds, abs=0 if holder != "mkv" else 0.0011)
    assert times(out) == times(source)
    assert times(out) == pytest.approx([start / 24_000 for start in starts], abs=0 if holder != "mkv" else 0.0011)
    assert packets(source, "audio") == packets(out, "audio")
    assert len(packets(out, "audio")) > 20


def test_frames_are_in_the_order_of_time_though_coded_in_another(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", options={"crf": "2", "bf": "3", "x264-params": "b-adapt=0"})
    with av.open(str(source)) as held:
        coded = [packet.pts for packet in held.demux(video=0) if packet.size]
    assert coded != sorted(coded)
    for path in (source, kept(source, "b.mp4")):
        far = [[np.abs(frame - scene(i).astype(float)).mean() for i in range(12)] for frame in video.frames(path)]
        assert np.argmin(far, 1).tolist() == list(range(12))


@pytest.mark.parametrize("spread", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize(("matrix", "pixels"), [(1, "yuv420p"), (6, "yuv420p"), (6, "yuv422p"), (9, "yuv444p")])
def test_colours_are_read_and_written_by_the_matrix_and_range_that_are_said(
    tmp_path: Path, matrix: int, spread: int, pixels: str
) -> None:
    said = {"colorspace": matrix, "color_range": spread, "color_primaries": matrix, "color_trc": 1}
    source = clip(tmp_path / "a.mp4", STEADY[:3], pixels=pixels, **said)
    out = kept(source, "b.mp4")
    with av.open(str(out)) as held:
        frame = next(held.decode(video=0))
    assert {name: getattr(frame, name) for name in said} == said
    assert frame.format.name.replace("yuvj", "yuv") == pixels
    for i, (before, after) in enumerate(zip(video.frames(source), video.frames(out), strict=True)):
        assert apart(before, scene(i)) <= 3
        assert apart(before, after) <= 3
        assert np.mean(np.abs(before.astype(int) - after) > 2) < 1e-3
        assert abs(after.mean() - before.mean()) < 0.1


def test_primary_colours_have_their_published_codes() -> None:
    """BT.709, table 3, and BT.601, table 3, of red: (Y, Cb, Cr) of limited range; JFIF of full range."""
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    wanted = {(1, 1): (63, 102, 240), (6, 1): (81, 90, 240), (6, 2): (76, 85, 255)}
    for (matrix, spread), codes in wanted.items():
        colour = video.colour_of(av.VideoFrame(4, 4, "yuv444p"))
        colour = type(colour)(matrix, spread, 2, 2, "yuv444p")
        planes = video.Painter().frame(red, colour).to_ndarray()
        assert np.abs(planes.reshape(3, -1).T.astype(int) - codes).max() <= 1
        back = video.Painter().array(video.Painter().frame(red, colour), colour)
        assert apart(back, red) <= 2


@pytest.mark.parametrize(("height", "matrix"), [(720, "bt709"), (704, "bt601")])
def test_a_matrix_that_is_not_said_is_taken_by_the_height_and_then_said(
    tmp_path: Path, height: int, matrix: str
) -> None:
    source = clip(tmp_path / "a.mp4", STEADY[:1], size=(height, 32))
    assert f"{matrix} (not said: taken by the height), limited range" in video.info(source).streams[0]
    out = kept(source, "b.mp4", lambda arrays: (array.repeat(2, 0) for array in arrays))
    assert f"{matrix}, limited range" in video.info(out).streams[0]


def test_frames_may_grow(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", sound=True)
    out = kept(source, "b.mp4", lambda arrays: (array.repeat(2, 0).repeat(2, 1) for array in arrays))
    assert video.info(out).height == 96 and video.info(out).width == 128
    assert times(out) == times(source)
    assert packets(source, "audio") == packets(out, "audio")
    assert apart(next(video.frames(out))[::2, ::2], scene(0)) <= 6


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [
        ("b.mp4", None, (45, 63)),
        ("b.mp4", None, (48, 63)),
        ("b.mkv", "ffv1", (45, 64)),
        ("b.webm", None, (45, 63)),
        ("b.mov", "libx265", (45, 63)),
    ],
)
def test_odd_sizes_stay_exactly_as_they_are(
    tmp_path: Path, name: str, codec: str | None, size: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    source = clip(tmp_path / "a.mp4", STEADY[:3], size=(48, 64))
    out = kept(source, name, lambda arrays: (array[: size[0], : size[1]] for array in arrays), codec=codec, quality=2)
    read = list(video.frames(out))
    assert [frame.shape for frame in read] == [(*size, 3)] * 3
    assert max(np.abs(frame - scene(i)[: size[0], : size[1]].astype(float)).mean() for i, frame in enumerate(read)) < 2


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (-90, -1), (180, 2)])
def test_a_turn_that_is_asked_for_is_done(tmp_path: Path, turn: int, quarters: int) -> None:
    source = clip(tmp_path / "a.mp4", STEADY[:3], turn=turn)
    with av.open(str(source)) as held:
        quarters = round(next(held.decode(video=0)).rotation / 90)
    with pytest.warns(UserWarning, match="asks to be turned: it is read and written upright"):
        out = kept(source, "b.mp4")
    clip_of = video.info(source)
    assert (clip_of.height, clip_of.width) == ((64, 48) if quarters % 2 else (48, 64))
    assert not video.info(out).notes
    for path in (source, out):
        assert all(apart(frame, np.rot90(scene(i), quarters)) <= 3 for i, frame in enumerate(video.frames(path)))


def test_deep_and_interlaced_sources_say_what_is_lost(tmp_path: Path) -> None:
    deep = clip(tmp_path / "a.mkv", STEADY[:3], codec="ffv1", pixels="yuv420p10le", options={})
    with pytest.warns(UserWarning, match="has 10 bits a channel, of which 8 are read and written"):
        out = kept(deep, "b.mkv")
    assert all(apart(frame, scene(i)) <= 3 for i, frame in enumerate(video.frames(out)))
    laced = clip(tmp_path / "c.mp4", STEADY[:3], options={"crf": "0", "x264-params": "interlaced=1"})
    assert video.info(laced).notes == ("is interlaced: both fields of a frame are read as one picture, and written so",)


@pytest.mark.parametrize(("holder", "subtitle", "other"), [("mp4", "mov_text", "mkv"), ("mkv", "subrip", "mp4")])
def test_subtitles_are_copied_or_named(tmp_path: Path, holder: str, subtitle: str, other: str) -> None:
    source = clip(tmp_path / f"a.{holder}", sound=True, subtitle=subtitle)
    out = kept(source, f"b.{holder}")
    before, after = ([packet for packet in packets(path, "subtitle") if len(packet[2]) > 2] for path in (source, out))
    assert before == after and len(after) == 2
    with pytest.warns(UserWarning, match=f"a.{holder}: cannot be copied to .{other}: subtitle 2") as told:
        lost = kept(source, f"c.{other}")
    assert len(told) == 1
    assert not packets(lost, "subtitle")
    assert [sound for _, _, sound in packets(lost, "audio")] == [sound for _, _, sound in packets(source, "audio")]


def test_chapters_tags_and_the_shape_of_pixels_are_kept(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(4, 3))
    for name in ("b.mp4", "c.mkv"):
        with av.open(str(kept(source, name))) as held:
            assert held.metadata["title"] == "waves"
            assert [chapter["metadata"]["title"] for chapter in held.chapters()] == ["a"]
            assert held.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    assert "MAJOR_BRAND" not in held.metadata


def test_attachments_and_covers_are_kept_and_are_no_pictures(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mkv", STEADY[:2])
    more = tmp_path / "b.mkv"
    with av.open(str(source)) as held, av.open(str(more), "w") as made:
        copy = made.add_stream_from_template(held.streams.video[0], opaque=True)
        made.add_attachment("font.ttf", "font/ttf", b"glyphs")
        for packet in held.demux(video=0):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    with av.open(str(kept(more, "c.mkv"))) as held:
        assert [stream.data for stream in held.streams if stream.type == "attachment"] == [b"glyphs"]
    song = tmp_path / "d.m4a"
    with av.open(str(song), "w", format="mp4") as made:
        cover = made.add_stream("mjpeg", width=64, height=48, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(scene(0), "rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = 0, Fraction(1, 24)
        made.mux([*cover.encode(frame), *cover.encode(None)])
    with pytest.raises(CodecError, match=r"without pictures \(video 0: mjpeg\)"):
        video.info(song)


def test_a_change_may_look_ahead(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", sound=True)

    def backwards(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        yield from list(arrays)[::-1]

    out = kept(source, "b.mp4", backwards)
    assert times(out) == times(source)
    assert apart(next(video.frames(out)), scene(11)) <= 5


def fewer(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield from islice(arrays, 5)


def more(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for array in arrays:
        yield from (array, array)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (fewer, "as many frames as came, got 5 and then none"),
        (more, "as many frames as came, got more than 1"),
        (lambda arrays: iter(()), "as many frames as came, got 0 and then none"),
        (lambda arrays: (array / 255 for array in arrays), r"changed frames of uint8 .* got float64 of \(48, 64, 3\)"),
        (lambda arrays: (array[..., 0] for array in arrays), r"got uint8 of \(48, 64\)"),
        (
            lambda arrays: (array[i:] for i, array in enumerate(arrays)),
            r"got uint8 of \(47, 64, 3\) after \(48, 64, 3\)",
        ),
    ],
)
def test_a_change_that_does_not_keep_to_its_word_leaves_nothing(
    tmp_path: Path, change: video.Change, words: str
) -> None:
    source = clip(tmp_path / "a.mp4")
    with pytest.raises(CodecError, match=words):
        kept(source, "b.mp4", change)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_of_the_change_is_raised_as_it_is(tmp_path: Path) -> None:
    def broken(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        yield next(arrays)
        raise FileNotFoundError("weights")

    source = clip(tmp_path / "a.mp4")
    with pytest.raises(FileNotFoundError, match="weights"):
        kept(source, "b.mp4", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", sound=True)
    (tmp_path / "b.mp4").write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(CodecError, match=r"could not write .*b.mp4.*; nothing was changed"):
            kept(source, "b.mp4", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "b.mp4").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("b.gif", {}, r"ends in .mp4, .m4v, .mov, .mkv, .webm, got 'b.gif'"),
        ("a.mp4", {"overwrite": True}, "an output beside the source"),
        ("there.mp4", {}, "which exists: overwrite=True"),
        ("none/b.mp4", {}, "an existing folder"),
        ("b.mp4", {"codec": "h265"}, "a codec of libx264, libx265, libvpx-vp9, ffv1"),
        ("b.mp4", {"quality": 90}, "a quality of 0 to 51, got 'libx264' and 90"),
        ("b.webm", {"codec": "libx264"}, "libx264 in webm cannot hold frames of 48 x 64"),
    ],
)
def test_outputs_that_cannot_be_are_refused(tmp_path: Path, name: str, how: dict[str, object], words: str) -> None:
    source = clip(tmp_path / "a.mp4", STEADY[:2])
    (tmp_path / "there.mp4").write_bytes(b"before")
    with pytest.raises(CodecError, match=words):
        kept(source, name, **how)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "there.mp4"]


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "text.mp4").write_text("not a video\n" * 40)
    (tmp_path / "text.txt").write_text("not a video\n" * 40)
    Image.fromarray(scene(0)).save(tmp_path / "a.png")
    Image.fromarray(scene(0)).save(tmp_path / "a.jpg")
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as made:
        tone = made.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", layout="stereo")
        frame.sample_rate = 48_000
        made.mux([*tone.encode(frame), *tone.encode(None)])
    wanted = {
        "text.mp4": "expected a video, got .* which is none or is cut off",
        "text.txt": "expected a video, got the text",
        "a.png": "got the picture",
        "a.jpg": "got the picture",
        "a.m4a": r"without pictures \(audio 0: aac, 48,000 Hz, 2 channels\)",
        "none.mp4": "found none: check the path",
    }
    for name, words in wanted.items():
        for read in (lambda path: next(video.frames(path)), video.info, lambda path: kept(path, "b.mp4")):
            with pytest.raises(CodecError, match=words) as told:
                read(tmp_path / name)
            assert "\n" not in str(told.value)
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize("holder", ["mp4", "mkv"])
def test_a_file_that_is_cut_off_gives_its_frames_and_then_says_so(tmp_path: Path, holder: str) -> None:
    whole = clip(
        tmp_path / f"a.{holder}",
        [3000 * i for i in range(48)],
        options={"crf": "0", "g": "6", "bf": "0"},
        holder={"movflags": "faststart"} if holder == "mp4" else None,
    )
    data = whole.read_bytes()
    cut = tmp_path / f"b.{holder}"
    cut.write_bytes(data[: int(0.8 * len(data))])
    read = []
    with pytest.raises(CodecError, match=r"(is cut off|is damaged) after frame \d\d .*: take another copy"):
        read.extend(apart(frame, scene(i)) for i, frame in enumerate(video.frames(cut)))
    assert 20 < len(read) < 48 and max(read[:-1]) <= 3
    with pytest.raises(CodecError, match="after frame"):
        kept(cut, f"c.{holder}")
    assert not list(tmp_path.glob("*c.*"))


def test_without_pyav_one_line_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (video.info, lambda path: next(video.frames(path)), lambda path: video.rewrite(path, "b.mp4", same)):
        with pytest.raises(Unsupported, match=r"pip install pofx\[video\]"):
            call("a.mp4")


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"needs the real clips in {CLIPS} (POFX_DATA)")
def test_a_real_clip_keeps_its_frames_and_sound(tmp_path: Path) -> None:
    """The first second of Big Buck Bunny, cut without coding anew, in quarter size for time."""
    source = tmp_path / "a.mp4"
    with av.open(str(CLIPS / "bigbuckbunny.mp4")) as held, av.open(str(source), "w") as made:
        copies = {stream.index: made.add_stream_from_template(stream, opaque=True) for stream in held.streams}
        for packet in held.demux():
            if packet.size and packet.dts * packet.time_base < 1:
                packet.stream = copies[packet.stream_index]
                made.mux(packet)
    out = kept(source, "b.mp4", lambda arrays: (array[::4, ::4] for array in arrays), quality=30)
    before, after = video.info(source), video.info(out)
    assert (after.frames, after.rate, after.seconds) == (before.frames, before.rate, before.seconds)
    assert (after.height, after.width) == (180, 320)
    assert times(out) == times(source)
    assert packets(source, "audio") == packets(out, "audio")
