"""Section with images: the worst misses and false alarms, and the surest finds, with saliency maps."""

import base64
import io
import re
from html import escape

import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy.ndimage import gaussian_filter

from imbal_jax.data.dataset import Images
from imbal_jax.report.decisions import Decisions
from imbal_jax.report.html import by_method, figures, fold
from imbal_jax.report.study import Study

THUMBNAIL = 160  # pixels
SMALL = 64  # pixels; images up to this side are enlarged without smoothing
THUMBNAILS = 6  # per class and kind
PICTURE_BYTES = 600_000  # budget for thumbnails in one report
BLUR = 48  # a map is smoothed by 1 / 48 of its side (standard deviation), because single pixels are noisy
HEAT = 0.65  # opacity of the map at its maximum


def pictures(study: Study) -> str:
    order = [study.winner, *(i for i in range(len(study.runs)) if i != study.winner)]
    album = _Album(study.images)
    parts = []
    for i in order:
        blocks = [(k, _class_pictures(study, i, k, album)) for k in study.shown]
        named = [(escape(study.classes[k]), block) for k, block in blocks if block]
        if not named:
            continue
        if i != study.winner:
            of = "".join(f"<h3>{name}</h3>{block}" for name, block in named)
            parts.append(fold(f"The same with {escape(study.runs[i].method)}", of))
            continue
        (name, block), *others = named
        parts.append(f"{by_method(study.runs, i)}<h3>{name}</h3>{block}")
        parts += [fold(name, block) for name, block in others]
    if not parts:
        return "<p>There is no positive and no false alarm to show.</p>"
    full = "<p class=muted>More pictures would make this file too large.</p>" if album.full else ""
    mapped = SALIENCY if any(run.saliency is not None for run in study.runs) else ""
    return (
        "<p>Missed with the lowest probability, false alarms with the highest, found with the highest. "
        "These are pixels of test images: look for burned-in names before passing this file on.</p>"
        f"{mapped}{''.join(parts)}{full}"
    )


SALIENCY = (
    "<p class=muted>Beside an image, its saliency map: bright where a small change of the pixels would change the "
    "network's answer most. Use it to find shortcuts, such as markers and borders, not to confirm a finding.</p>"
    + fold(
        "What a saliency map does not show",
        "<p>The map is relative to the rest of that image, and smoothed. It does not show why, nor whether the "
        "finding was seen, and it outlines nothing: such maps can look plausible for a network that has learnt "
        "nothing (Adebayo et al., NeurIPS 2018), and they place findings of chest radiographs poorly (Arun et al., "
        "Radiology: Artificial Intelligence 2021).</p>",
    )
)


def _class_pictures(study: Study, i: int, k: int, album: "_Album") -> str:
    here, name = study.decided[i], study.classes[k]
    positive, negative = here.truth[:, k] == 1, here.truth[:, k] == 0
    score, called = here.scores[:, k], here.called[:, k]
    kinds = [
        ("Missed", positive & ~called, score, f"No {name} image was missed."),
        ("False alarms", negative & called, -score, f"No other image was called {name}."),
        ("Found", positive & called, -score, f"No {name} image was found."),
    ]
    if not positive.any():
        kinds = kinds[1:2]
        if not called.any():
            return ""
    places = {heading: _worst(chosen, key) for heading, chosen, key, _ in kinds}
    maps = (
        {} if album.full else _maps(study, i, k, [p for h, ps in places.items() if h != "Found" for p in ps])
    )
    points = study.runs[i].points
    html = f"<p class=muted>Called at {figures(points[k].threshold)} or more.</p>" if points else ""
    for heading, chosen, _, nothing in kinds:
        count = int(chosen.sum())
        shown = "".join(album.figure(p, _caption(here, p, k), maps.get(p)) for p in places[heading])
        title = f"{heading}{f' <small>{count:,}</small>' if count else ''}"
        pairs = " pairs" if any(p in maps for p in places[heading]) else ""
        content = f'<div class="pictures{pairs}">{shown}</div>' if shown else ""
        if not count:
            content = f"<p class=muted>{escape(nothing)}</p>"
        html += fold(title, content) if heading == "Found" and shown else f"<h4>{title}</h4>{content}"
    return html


def _worst(chosen: np.ndarray, key: np.ndarray) -> list[int]:
    places = np.flatnonzero(chosen)
    return [int(p) for p in places[np.argsort(key[places], kind="stable")][:THUMBNAILS]]


def _maps(study: Study, i: int, k: int, places: list[int]) -> dict[int, np.ndarray]:
    saliency = study.runs[i].saliency
    if saliency is None or not places:
        return {}
    maps = np.asarray(saliency(np.array(places), k), np.float64)
    if maps.ndim != 3 or len(maps) != len(places):
        raise ValueError(f"saliency gives {list(maps.shape)} for {len(places)} images, expected [n, H, W]")
    return dict(zip(places, maps, strict=True))


def _caption(here: Decisions, place: int, k: int) -> str:
    probability = f"{escape(here.classes[k])} {here.scores[place, k]:.3g}"
    true = [name for name, positive in zip(here.classes, here.truth[place] == 1, strict=True) if positive]
    truth = f"<b>{escape(', '.join(true)) or 'none'}</b>"
    highest = int(here.scores[place].argmax())
    if here.exclusive and highest != k:
        probability += f"<br>{escape(here.classes[highest])} {here.scores[place, highest]:.3g}"
    return f"true: {truth}<br>{probability}"


class _Album:
    """Embeds images until the budget of the file is spent."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._left = PICTURE_BYTES
        self.full = False

    def figure(self, place: int, caption: str, heat: np.ndarray | None) -> str:
        """An image, and beside it its map [H, W] where there is one; empty where the budget is spent."""
        if self.full:
            return ""
        picture = picture_of(np.asarray(self._images[place]))
        text = escape(re.sub(r"<[^>]*>", " ", caption), quote=True).replace("&amp;", "&")
        shown = embedded(picture, text)
        if heat is not None:
            shown = (
                f'<div class="pair">{shown}{embedded(overlay(picture, heat), f"saliency map; {text}")}</div>'
            )
        self._left -= len(shown)
        self.full = self._left < 0
        return "" if self.full else f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def overlay(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """The picture in grey under the map, blurred a little; its 99.5th percentile is the brightest colour."""
    heat = gaussian_filter(np.nan_to_num(heat), max(heat.shape) / BLUR)
    top = np.quantile(heat, 0.995)
    share = np.clip(heat / top, 0, 1) if top > 0 else np.zeros(heat.shape)
    share = np.asarray(Image.fromarray(np.float32(share)).resize(picture.size, Image.Resampling.BILINEAR))
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    hot = 255 * colormaps["inferno"](share)[..., :3]
    covered = HEAT * np.sqrt(share)[..., None]
    return Image.fromarray(np.uint8(np.rint((1 - covered) * grey + covered * hot)))


def picture_of(image: np.ndarray) -> Image.Image:
    """uint8 or uint16 [H, W, 1 or 3] as a picture of 8 bits."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    return Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])


def embedded(
    picture: Image.Image, text: str, *, side: int = THUMBNAIL, small: int = SMALL, quality: int = 82
) -> str:
    """An img element that holds the picture, its longer side at most ``side`` pixels.

    text: its description, escaped. small: pictures up to this side are stored exactly and enlarged without smoothing;
    others are JPEG of this quality.
    """
    exact = max(picture.size) <= small
    picture = picture.copy()
    picture.thumbnail((side, side))
    stored = io.BytesIO()
    picture.save(stored, "PNG") if exact else picture.save(stored, "JPEG", quality=quality)
    kind, style = ("png", ' class="pixels"') if exact else ("jpeg", "")
    data = base64.b64encode(stored.getvalue()).decode()
    return f'<img{style} alt="{text}" src="data:image/{kind};base64,{data}">'
