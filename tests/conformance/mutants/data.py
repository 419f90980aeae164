"""data, broken."""

import base64
import io
import json
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image as Pictures
from starlette.types import ASGIApp

from api.app import create_app
from conformance.fixtures.images import PLACEHOLDER, png
from reference import sampler
from reference.bundle import Bundle
from reference.images import decoding
from reference.images.decoding import ImageError, ImageLimits
from reference.images.placement import ImageProcessor
from reference.logits import Logits
from reference.request import Event, Image, PromptProcessed, Request, TokenGenerated
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    by_body,
    delivering,
    drawing,
    replying,
    rewriting,
    served,
    sometimes,
    telling,
    whole,
    without,
)

BLACK = png(Pictures.new("RGB", (32, 32)))


def images(body: Json) -> Any:
    data = body.get("data")
    return data.get("image") if isinstance(data, dict) else None


def strings(body: Json) -> bool:
    found = images(body)
    return isinstance(found, list) and all(isinstance(uri, str) for uri in found)


def sending(body: Json, uris: Iterable[str]) -> Json:
    """The body with other images."""
    return body | {"data": {"image": list(uris)}}


def renewing(model: Bundle, change: Callable[[str], str]) -> ASGIApp:
    """Each image is changed before anybody looks at it."""

    def changed(body: Json) -> Json:
        return sending(body, map(change, images(body))) if strings(body) else body

    return asking(whole(model), changed)


def redrawing(model: Bundle, change: Callable[[Pictures.Image], Pictures.Image]) -> ASGIApp:
    """Each picture that can be opened is drawn anew."""

    def drawn(uri: str) -> str:
        try:
            file = io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True))
            picture = Pictures.open(file)
            picture.load()
            return png(change(picture))
        except Exception:
            return uri  # it is refused as before

    return renewing(model, drawn)


def looking(model: Bundle, change: Callable[[Request], Sequence[Image]]) -> ASGIApp:
    """The model sees other images, in the same places."""

    def told(request: Request) -> Request:
        pairs = zip(request.images, change(request), strict=True)
        return replace(request, images=tuple(replace(p, image=image) for p, image in pairs))

    return telling(model, told)


def placeholders(body: Json) -> int:
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    return sum(p.count(PLACEHOLDER) for p in prompts if isinstance(p, str))


def with_images(model: Bundle, change: Callable[[Json, Json], None]) -> ASGIApp:
    """Whole answers to requests with images are changed in place, given the request too."""

    def chosen(body: bytes) -> ASGIApp:
        try:
            asked = json.loads(body)
            if not images(asked) or asked.get("stream"):
                return app
        except (ValueError, AttributeError):
            return app

        def changed(answer: Json) -> Json:
            change(answer, asked)
            return answer

        return answering(app, changed)

    app = whole(model)
    return by_body(chosen)


def with_rows(model: Bundle, change: Callable[[Json, list[int]], None]) -> ASGIApp:
    """The rows of echoed prompts with images are changed, given where the images are."""

    def changed(answer: Json, asked: Json) -> None:
        for choice in answer["choices"]:
            if asked.get("echo") and (rows := choice["logprobs"]):
                values = enumerate(rows["token_logprobs"])
                change(rows, [i for i, value in values if i and value is None])

    return with_images(model, changed)


@mutant("data/wrong-shapes-are-refused")
def one_image(model: Bundle) -> ASGIApp:
    """One image need not be in a list."""

    def listed(body: Json) -> Json:
        found = images(body)
        return body | ({"data": {"image": [found]}} if isinstance(found, str) else {})

    return asking(whole(model), listed)


@mutant("data/no-images-are-fine")
def any_data(model: Bundle) -> ASGIApp:
    """The field itself is refused by a model that does not see."""

    def refused(body: Json) -> Json:
        return body | ({"data": {"image": ["a"]}} if images(body) == [] else {})

    return asking(whole(model), refused)


@mutant(
    "data/an-image-without-a-place-is-refused",
    "data/there-are-as-many-as-placeholders",
    "data/what-is-no-image-is-refused",
    "data/the-broken-one-is-named",
    "data/too-many-pixels-are-refused",
    "data/images-are-told-apart",
    "data/every-image-is-read",
    "data/is-read-at-any-size",
)
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    blind = replace(served(model), sight=None)
    return without(create_app([blind]), "data")


@mutant("data/no-url-is-fetched")
def fetched(model: Bundle) -> ASGIApp:
    """A URL is fetched before anybody asks what it is for."""

    def fetch(body: Json) -> Json:
        for url in images(body) or ():
            try:
                urllib.request.urlopen(url, timeout=1).close()
            except (OSError, ValueError):
                pass  # it is refused as before
        return body

    return asking(whole(model), fetch)


@mutant("data/every-format-is-taken")
def no_webp(model: Bundle) -> ASGIApp:
    """WebP is refused."""
    return renewing(model, lambda uri: "webp" if "image/webp" in uri else uri)


@mutant("data/every-format-is-taken")
def no_upper_case(model: Bundle) -> ASGIApp:
    """A media type counts only in lower case."""
    return renewing(model, lambda uri: uri if uri.startswith("data:image") else "another type")


@mutant("data/there-are-as-many-as-placeholders", "data/an-image-without-a-place-is-refused")
def not_counted(model: Bundle) -> ASGIApp:
    """Images too many are left out, and the last one is taken again where there are too few."""

    def fitted(body: Json) -> Json:
        count = placeholders(body)
        found = images(body) or ([BLACK] if count else [])
        return sending(body, [*found, *found[-1:] * count][:count])

    return asking(whole(model), fitted)


@mutant("data/there-are-as-many-as-placeholders")
def none_is_fine(model: Bundle) -> ASGIApp:
    """A placeholder without any image is read as the text it is."""
    blind = create_app([replace(served(model), sight=None)])
    return sometimes(model, lambda body: not images(body), blind)


@mutant("data/what-is-no-image-is-refused", "data/the-broken-one-is-named")
def black_instead(model: Bundle) -> ASGIApp:
    """What cannot be read is a black image."""

    def readable(uri: str) -> str:
        try:
            decoding.decode_image(uri, ImageLimits())
        except ImageError as error:
            return uri if "exceeds limit" in str(error) else BLACK
        return uri

    return renewing(model, readable)


@mutant("data/what-is-no-image-is-refused")
def half_is_enough(model: Bundle) -> ASGIApp:
    """What there is of a picture that is cut off is taken."""

    def completed(uri: str) -> str:
        try:
            decoding.decode_image(uri, ImageLimits())
        except ImageError as error:
            return BLACK if "runcated" in str(error) else uri
        return uri

    return renewing(model, completed)


@mutant("data/the-broken-one-is-named")
def counted_from_one(model: Bundle) -> ASGIApp:
    """The message counts images from 1."""

    def moved(text: str, _: str) -> str:
        for i in (2, 1, 0):
            text = text.replace(f"data.image[{i}]", f"data.image[{i + 1}]")
        return text

    return rewriting(whole(model), moved, (400,))


@mutant("data/what-is-no-image-is-refused", "data/too-many-pixels-are-refused")
def another_code(model: Bundle) -> ASGIApp:
    """What is no image is an error of another code."""
    return rewriting(whole(model), lambda text, _: text.replace("invalid_image", "error"), (400,))


@mutant("data/too-many-pixels-are-refused")
def as_large_as_it_likes(model: Bundle) -> ASGIApp:
    """What a picture says of its size frightens nobody: what is missing is black."""

    def filled(uri: str) -> str:
        try:
            decoding.decode_image(uri, ImageLimits())
        except ImageError as error:
            return BLACK if "more pixels than" in str(error) else uri
        return uri

    return renewing(model, filled)


@mutant("data/fill-the-context")
def cut_to_fit(model: Bundle) -> ASGIApp:
    """The end of a prompt that is too long because of its images is cut off."""

    def cut(body: Json) -> Json:
        prompt = body["prompt"]
        if not (images(body) and isinstance(prompt, str) and model.sight):
            return body
        most = model.context - 1 - (model.sight.rows - 1) * placeholders(body)
        while len(model.tokenizer.encode(prompt)) > most:
            prompt = prompt[:-1]
        return body | {"prompt": prompt}

    return asking(whole(model), cut)


@mutant("data/text-alone-is-answered-as-before")
def remembered(model: Bundle) -> ASGIApp:
    """The last image is there for a prompt without one, too."""
    last: list[str] = []

    def recalled(body: Json) -> Json:
        if found := images(body):
            last[:] = found[-1:]
        elif last and isinstance(body["prompt"], str):
            return sending(body | {"prompt": PLACEHOLDER + body["prompt"]}, last)
        return body

    return asking(whole(model), recalled)


@mutant("data/text-alone-is-answered-as-before")
def always_an_image(model: Bundle) -> ASGIApp:
    """A model that sees refuses a prompt without an image."""

    def refused(body: Json) -> Json:
        return body if images(body) else sending(body, ["none"])

    return asking(whole(model), refused)


@mutant("data/places-count-in-usage", "data/takes-the-places-of-the-model")
def one_token_each(model: Bundle) -> ASGIApp:
    """A placeholder counts as one token in usage."""

    def change(answer: Json, asked: Json) -> None:
        rows = model.sight.rows if model.sight else 1
        for name in "prompt_tokens", "total_tokens":
            answer["usage"][name] -= (rows - 1) * len(images(asked))

    return with_images(model, change)


@mutant("data/places-count-in-usage")
def larger_costs_more(model: Bundle) -> ASGIApp:
    """A large image counts twice in usage."""

    def change(answer: Json, asked: Json) -> None:
        large = sum(decoding.decode_image(uri, ImageLimits()).width > 300 for uri in images(asked))
        for name in "prompt_tokens", "total_tokens":
            answer["usage"][name] += 9 * large

    return with_images(model, change)


@mutant("data/takes-the-places-of-the-model", "data/places-count-in-usage")
def one_more_each(model: Bundle) -> ASGIApp:
    """An image counts for a token more than it takes."""

    def change(answer: Json, asked: Json) -> None:
        for name in "prompt_tokens", "total_tokens":
            answer["usage"][name] += len(images(asked))

    return with_images(model, change)


@mutant("data/an-echo-has-the-placeholder-once")
def expanded(model: Bundle) -> ASGIApp:
    """An echo has a placeholder for each place."""

    def change(answer: Json, asked: Json) -> None:
        rows = model.sight.rows if model.sight else 1
        for choice in answer["choices"]:
            choice["text"] = choice["text"].replace(PLACEHOLDER, PLACEHOLDER * rows)

    return with_images(model, change)


@mutant("data/an-echo-has-the-placeholder-once")
def left_out(model: Bundle) -> ASGIApp:
    """An echo has no placeholders: they are special tokens."""

    def change(answer: Json, asked: Json) -> None:
        for choice in answer["choices"]:
            choice["text"] = choice["text"].replace(PLACEHOLDER, "")

    return with_images(model, change)


@mutant("data/places-have-no-numbers")
def numbers_everywhere(model: Bundle) -> ASGIApp:
    """The places of an image have the log-probability of the placeholder."""

    def change(rows: Json, places: list[int]) -> None:
        for i in places:
            rows["token_logprobs"][i] = -20.0
            rows["top_logprobs"][i] = {PLACEHOLDER: -20.0}

    return with_rows(model, change)


@mutant("data/places-have-no-numbers")
def the_first_place_has_one(model: Bundle) -> ASGIApp:
    """The first place of an image has a log-probability."""

    def change(rows: Json, places: list[int]) -> None:
        for i in places:
            if i - 1 not in places:
                rows["token_logprobs"][i] = -20.0
                rows["top_logprobs"][i] = {PLACEHOLDER: -20.0}

    return with_rows(model, change)


@mutant("data/places-have-no-numbers", "data/text-after-an-image-is-scored-by-the-model")
def silent_after_an_image(model: Bundle) -> ASGIApp:
    """The token after an image has no log-probability either."""

    def change(rows: Json, places: list[int]) -> None:
        for i in places:
            if i + 1 not in places:
                rows["token_logprobs"][i + 1] = rows["top_logprobs"][i + 1] = None

    return with_rows(model, change)


@mutant("data/places-have-no-numbers", "data/places-count-in-usage")
def one_row(model: Bundle) -> ASGIApp:
    """An image has one row in an echo."""

    def change(rows: Json, places: list[int]) -> None:
        for i in reversed([i for i in places if i - 1 in places]):
            for column in rows.values():
                column.pop(i)

    return with_rows(model, change)


@mutant("data/places-are-at-their-placeholder")
def one_after_another(model: Bundle) -> ASGIApp:
    """Each place of an image has an offset of its own, as if its placeholder came again."""

    def change(rows: Json, places: list[int]) -> None:
        moved, length = 0, len(PLACEHOLDER)
        for i, offset in enumerate(rows["text_offset"]):
            moved += length if i in places and i - 1 in places else 0
            rows["text_offset"][i] = offset + moved

    return with_rows(model, change)


@mutant(
    "data/images-are-told-apart",
    "data/every-image-is-read",
    "data/several-are-read-in-their-places",
)
def unseen(model: Bundle) -> ASGIApp:
    """No pixel matters: all images are grey."""

    def grey(request: Request) -> list[Image]:
        return [Image.of(placed.image.pixels * 0) for placed in request.images]

    return looking(model, grey)


@mutant("data/every-image-is-read", "data/several-are-read-in-their-places")
def the_first_for_all(model: Bundle) -> ASGIApp:
    """Every placeholder of a prompt has the first image."""
    return looking(model, lambda r: [r.images[0].image for _ in r.images])


@mutant(
    "data/images-take-the-placeholders-in-order",
    "data/each-prompt-of-a-list-has-its-own",
    "data/several-are-read-in-their-places",
)
def from_the_end(model: Bundle) -> ASGIApp:
    """Images are given out from the last to the first."""

    def turned(body: Json) -> Json:
        return sending(body, images(body)[::-1]) if strings(body) else body

    return asking(whole(model), turned)


@mutant("data/each-prompt-of-a-list-has-its-own")
def from_the_first_again(model: Bundle) -> ASGIApp:
    """Each prompt of a list begins with the first image."""

    def again(body: Json) -> Json:
        found, prompts = images(body), body["prompt"]
        if not found or not isinstance(prompts, list) or len(found) != placeholders(body):
            return body
        return sending(body, [u for p in prompts for u in found[: p.count(PLACEHOLDER)]])

    return asking(whole(model), again)


@mutant("data/a-prompt-of-ids-takes-images-too")
def unseen_among_ids(model: Bundle) -> ASGIApp:
    """The images of a prompt of token ids are all black."""

    def black(body: Json) -> Json:
        ids = [i for i in body["prompt"] if isinstance(i, int)]
        return sending(body, [BLACK] * len(images(body))) if ids and images(body) else body

    return asking(whole(model), black)


@mutant("data/only-pixels-count", "data/is-read-in-any-format")
def palettes_are_grey(model: Bundle) -> ASGIApp:
    """The numbers of a palette's colours are taken for shades of grey."""

    def grey(picture: Pictures.Image) -> Pictures.Image:
        if picture.mode != "P":
            return decoding.plain(picture)
        return Pictures.frombytes("L", picture.size, picture.tobytes())

    return redrawing(model, grey)


@mutant("data/an-alpha-channel-is-dropped", "data/is-read-in-any-format")
def on_black(model: Bundle) -> ASGIApp:
    """What is transparent is black."""

    def covered(picture: Pictures.Image) -> Pictures.Image:
        picture = picture if picture.mode == "RGBA" else decoding.plain(picture)
        return Pictures.alpha_composite(
            Pictures.new("RGBA", picture.size, (0, 0, 0, 255)), picture.convert("RGBA")
        )

    return redrawing(model, covered)


@mutant("data/a-picture-is-turned-as-it-says", "data/is-read-in-any-format")
def not_turned(model: Bundle) -> ASGIApp:
    """EXIF is not read."""
    return redrawing(model, lambda picture: picture.convert("RGB"))


@mutant("data/an-animation-is-its-first-frame")
def the_last_frame(model: Bundle) -> ASGIApp:
    """Of an animation the last frame is taken."""

    def last(picture: Pictures.Image) -> Pictures.Image:
        picture.seek(getattr(picture, "n_frames", 1) - 1)
        return decoding.plain(picture)

    return redrawing(model, last)


@mutant("data/the-same-image-again-changes-nothing")
def another_way_to_round(model: Bundle) -> ASGIApp:
    """After a hit of a prompt with images the last digits are others."""
    hits: list[int] = []

    def change(request: Request, event: Event) -> Event:
        if isinstance(event, PromptProcessed):
            hits.append(event.cached_tokens if request.images else 0)
        if not isinstance(event, TokenGenerated) or not hits[-1] or event.logprobs is None:
            return event
        logprob = event.logprobs.logprob * (1 + 2**-23)
        return replace(event, logprobs=replace(event.logprobs, logprob=logprob))

    return delivering(model, change)


@mutant("data/another-image-is-another-prompt", "data/only-text-before-an-image-is-shared")
def keyed_by_text(model: Bundle) -> ASGIApp:
    """The prefix cache takes prompts of one text for one, whatever their images."""
    return looking(model, lambda r: [Image(p.image.pixels, b"") for p in r.images])


@mutant("data/an-image-is-cached-with-its-text")
def never_cached(model: Bundle) -> ASGIApp:
    """Prompts with images are not kept."""
    count = 0

    def fresh(request: Request) -> list[Image]:
        nonlocal count
        count += 1
        return [Image(p.image.pixels, str(count).encode()) for p in request.images]

    return looking(model, fresh)


@mutant("data/a-stream-says-what-the-whole-says")
def unseen_in_a_stream(model: Bundle) -> ASGIApp:
    """With a stream all images are black."""

    def black(body: Json) -> Json:
        uris = images(body)
        return sending(body, [BLACK] * len(uris)) if uris and body.get("stream") else body

    return asking(whole(model), black)


@mutant("data/a-placeholder-is-never-drawn", "data/the-likeliest-placeholder-is-not-drawn")
def draws_placeholders(model: Bundle) -> ASGIApp:
    """A placeholder is a token like others."""

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        allowed = history.allowed.copy()
        allowed[model.sight.token if model.sight else 0] = True
        return sampler.sample(logits, replace(history, allowed=allowed), noise)

    return drawing(model, sample)


@mutant("data/is-read-at-any-size")
def nearest(model: Bundle) -> ASGIApp:
    """A picture is resized to the nearest pixels."""
    return preparing(model, resample=int(Pictures.Resampling.NEAREST))


@mutant("data/is-read-at-any-size")
def squeezed(model: Bundle) -> ASGIApp:
    """A picture is squeezed into a square, not cut."""
    return preparing(model, shortest_edge=None, size=(12, 12))


def preparing(model: Bundle, **changed: Any) -> ASGIApp:
    """Pictures are prepared in another way."""
    sight = model.sight
    if isinstance(sight, ImageProcessor):
        sight = replace(sight, preprocessor=replace(sight.preprocessor, **changed))
    return create_app([replace(served(model), sight=sight)])


@mutant("data/text-after-an-image-is-scored-by-the-model")
def one_row_late(model: Bundle) -> ASGIApp:
    """A token after an image has the log-probability of the one after it."""

    def change(rows: Json, places: list[int]) -> None:
        start = places[-1] + 1
        for name in "token_logprobs", "top_logprobs":
            rows[name][start:-1] = rows[name][start + 1 :]

    return with_rows(model, change)


@mutant("data/a-stream-says-what-the-whole-says", "data/an-echo-has-the-placeholder-once")
def text_of_the_reader(model: Bundle) -> ASGIApp:
    """A whole echo is spelled from its tokens, which lose the line break after an image."""

    def change(answer: Json, asked: Json) -> None:
        for choice in answer["choices"]:
            choice["text"] = choice["text"].replace(f"{PLACEHOLDER}\n", PLACEHOLDER)

    return with_images(model, change)


@mutant("data/what-is-no-image-is-refused", "data/the-broken-one-is-named")
def a_422(model: Bundle) -> ASGIApp:
    """What is no image is a 422."""

    def change(
        scope: Any, said: tuple[int, dict[str, str], str]
    ) -> tuple[int, dict[str, str], str]:
        status, headers, text = said
        return (422 if "invalid_image" in text else status), headers, text

    return replying(whole(model), change)
