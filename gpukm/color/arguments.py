"""The options of ``gpukm colors``, ``palette`` and ``apply``. What the commands do is in commands.py, imported late."""

import argparse
from collections.abc import Callable
from typing import Any

from gpukm._arguments import add_output_options, integer, number
from gpukm.color.load import MAX_PIXELS

MANY = 8  # images from which on processes are worth their start, a second or two
_INPUTS = "image files (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM), or folders of them"

_CODES = """
Exit codes: 0 all done; 1 failed; 2 wrong usage, or some images failed and the others were done; 15 an output exists;
98 not smaller than the file (--skip-if-larger); 99 a quality is not reached (--require-de, --target-de, ...).
Wherever it is not 0 for an image, nothing is written for that image."""

EXAMPLES = {
    "colors": "examples:\n"
    "  gpukm colors examples/chelsea.png -k 16 -o chelsea-16.png --report chelsea.html\n"
    "  gpukm colors examples --out-dir small -k 32 --shared --resume small.journal",
    "palette": "examples:\n"
    "  gpukm palette examples/chelsea.png -k 8\n"
    "  gpukm palette examples -k 8 --balance images -o shared.json -o shared.gpl",
    "apply": "example:\n  gpukm apply --palette shared.json examples --out-dir out --dither fs",
}


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the subcommands, each by `add(name, run, text)`."""

    def add_own(name: str, text: str) -> argparse.ArgumentParser:
        command = add(name, _run(name), text)
        command.set_defaults(interrupted="the files that are there are whole")
        command.description = f"{text}.\n{_CODES}"
        return command

    text = "Reduce images to K colours: print the palette, write indexed images"
    colors = add_own("colors", text)
    _add_inputs(colors)
    search = _add_search(colors, colors="256", most=256)
    search.add_argument("--shared", action="store_true", help="one palette for all images, counted in one pass")
    _add_balance(search)
    _add_importance(search)
    _add_mapping(colors, frames=True)
    output = _add_images_output(colors)
    require = "write nothing and exit with 99 where the mean CIEDE2000 is above X"
    output.add_argument("--require-de", metavar="X", type=number(0), help=require)
    add_output_options(output)

    palette = add_own("palette", "Find one palette of K colours for all images together and print it")
    _add_inputs(palette)
    search = _add_search(palette, colors="8, or up to 256 where a quality is asked for", most=65536)
    _add_balance(search)
    _add_importance(search)
    _add_alpha(palette.add_argument_group("transparency"))
    output = palette.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        action="append",
        help="write the palette: .json (everything), .hex, .gpl (GIMP), .ase, .aco (Adobe), .css, .png; repeatable",
    )
    add_output_options(output)

    apply = add_own("apply", "Reduce images to the colours of a palette file")
    _add_inputs(apply)
    files = "a palette: .json, .hex, .gpl, .ase, .aco, .css, or a .png or .gif of at most 256 colours"
    apply.add_argument("--palette", metavar="FILE", required=True, help=files)
    _add_space(apply.add_argument_group("mapping"))
    _add_mapping(apply, frames=False)
    output = _add_images_output(apply)
    require = "write nothing and exit with 99 where the mean CIEDE2000 is above X"
    output.add_argument("--require-de", metavar="X", type=number(0), help=require)
    add_output_options(output)


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from gpukm.color import commands

        return commands.run(name, options)

    return run


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("inputs", metavar="INPUT", nargs="+", help=_INPUTS)
    group = command.add_argument_group("reading")
    group.add_argument("--recursive", action="store_true", help="look into the folders within folders, too")
    limit = "refuse images that claim to be larger (default: 268)"
    group.add_argument(
        "--max-megapixels", dest="max_pixels", metavar="M", type=_megapixels, default=MAX_PIXELS, help=limit
    )
    jobs = f"processes, each for an image (default: one a processor for {MANY} images and more)"
    group.add_argument("-j", "--jobs", metavar="N", type=integer(1), help=jobs)
    resume = "keep a journal in FILE, and go on where a run with this journal was stopped; it is removed at the end"
    group.add_argument("--resume", metavar="FILE", help=resume)


def _add_search(command: argparse.ArgumentParser, *, colors: str, most: int) -> Any:
    group = command.add_argument_group("palette")
    text = f"colours, from 1 to {most} (default: {colors})"
    group.add_argument("-k", "--colors", metavar="K", type=integer(1, most), help=text)
    for flag, metavar, text in (
        ("--target-de", "X", "the smallest palette, up to K colours, whose mean CIEDE2000 is at most X"),
        ("--target-de-p95", "X", "... whose CIEDE2000 is at most X for 95 %% of the pixels"),
        ("--min-psnr", "X", "... whose PSNR is at least X decibels"),
    ):
        group.add_argument(flag, metavar=metavar, type=number(0), help=text)
    _add_space(group)
    keep = "colours that are in the palette as they are, such as '#ff0000,#ffffff'"
    group.add_argument("--keep", metavar="COLOURS", type=_colors, default=(), help=keep)
    effort = "0 is one k-means fit; 1 to 4 search on, longer where there is more to find (default: %(default)s)"
    group.add_argument("--effort", metavar="N", type=integer(0, 4), default=1, help=effort)
    starts = "starting colours (default: %(default)s)"
    group.add_argument("--init", choices=("wu", "k-means++"), default="wu", help=starts)
    group.add_argument(
        "--seed", metavar="N", type=integer(0), default=0, help="of random starts (default: %(default)s)"
    )
    group.add_argument("--device", metavar="D", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    return group


def _add_space(group: Any) -> None:
    spaces = ("oklab", "srgb", "din99", "lab", "linear")
    text = (
        "where distances are measured: oklab and din99 as the eye sees, srgb for the least MSE (default: %(default)s)"
    )
    group.add_argument("--space", choices=spaces, default="oklab", help=text)
    chroma = "weight of the colour axes in oklab, lab and din99 (default: 2 in oklab, else 1)"
    group.add_argument("--chroma", metavar="X", type=number(0, above=True), help=chroma)


def _add_balance(group: Any) -> None:
    text = "of one palette for several images: whether each pixel counts alike, or each image (default: pixels)"
    group.add_argument("--balance", choices=("pixels", "images"), help=text)


def _add_importance(group: Any) -> None:
    text = "a grey image of the size of each image: the lighter, the more a pixel counts, in all frames"
    group.add_argument("--importance", metavar="FILE", help=text)


def _add_alpha(group: Any) -> None:
    text = "transparency: keep it, make each pixel transparent or opaque, or lay the image on --background"
    alpha = ("keep", "threshold", "flatten")
    group.add_argument("--alpha", choices=alpha, default="keep", help=text + " (default: %(default)s)")
    group.add_argument("--background", metavar="#RRGGBB", help="for --alpha flatten (default: white)")


def _add_mapping(command: argparse.ArgumentParser, *, frames: bool) -> None:
    group = command.add_argument_group("pixels")
    kinds = "fs is Floyd-Steinberg, bayer and blue are ordered: blue noise is the less visible (default: %(default)s)"
    group.add_argument("--dither", choices=("none", "fs", "bayer", "blue"), default="none", help=kinds)
    level = "how much of --dither, from 0 to 1 (default: 0.8)"
    group.add_argument("--dither-level", metavar="X", type=number(0, 1), help=level)
    _add_alpha(group)
    if frames:
        text = "of an animation: one palette for all frames, or one for each (default: shared)"
        group.add_argument("--frames", choices=("shared", "own"), help=text)


def _add_images_output(command: argparse.ArgumentParser) -> Any:
    group = command.add_argument_group("output")
    names = "write the image: .png (as few bits a pixel as the palette needs), .gif, .webp; animations, too"
    group.add_argument("-o", "--output", metavar="FILE", help=names)
    folder = (
        "write each image here, in the folders it was found in; images that differ in the ending only keep it: "
        "a.jpg and a.gif become a.jpg.png and a.gif.png"
    )
    group.add_argument("--out-dir", metavar="FOLDER", help=folder)
    formats = ("png", "gif", "webp")
    group.add_argument("--format", choices=formats, help="of images in --out-dir (default: png)")
    strip = "leave EXIF, XMP and dpi out; colour profile and rotation are applied in any case"
    group.add_argument("--strip", action="store_true", help=strip)
    group.add_argument(
        "--report", metavar="FILE.html", help="write a page: before and after, palette, map of the error"
    )
    larger = "write nothing where the result has more bytes than the file (exit code 98)"
    group.add_argument("--skip-if-larger", action="store_true", help=larger)
    existing = "leave images whose output exists"
    group.add_argument("--skip-existing", action="store_true", help=existing)
    return group


def _colors(text: str) -> tuple[str, ...]:
    from gpukm.color.palette import parse_hex

    colors = tuple(part.strip() for part in text.split(",") if part.strip())
    for color in colors:
        try:
            parse_hex(color)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return colors


def _megapixels(text: str) -> int:
    return int(number(0)(text) * 1e6)
