"""data: images, for models that see."""

import itertools
import socket
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.assertions.basic import (
    accepted,
    equal,
    error_of,
    refused,
    require,
    same_answer,
    status,
)
from conformance.assertions.images import (
    ASKED,
    BOTH,
    WITHIN,
    apart,
    between,
    echoed,
    look_alike,
    must_be_apart,
    places,
    showing,
)
from conformance.assertions.logprobs import CLOSE, as_the_model_says, dense, deviation
from conformance.assertions.next_token import naming
from conformance.checks.max_tokens import LONGEST
from conformance.checks.prompt_cache_key import cached, fresh, ways
from conformance.checks.stream import as_whole
from conformance.fixtures import images as pictures
from conformance.fixtures.images import PLACEHOLDER, mosaic, shown
from conformance.harness.capabilities import (
    CACHED_TOKENS,
    CONTEXT,
    ECHO,
    ECHOED_ROWS,
    EYES,
    LOGPROBS,
    PROMPT_IDS,
    PROMPT_LISTS,
    STREAM,
    TOKEN_ID,
    TOKEN_IDS,
    context_length,
    has,
)
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import PROMPT, Server
from conformance.http.response import Answer, Rows
from conformance.oracle.greedy_paths import CLEARLY, output_of, penalised
from conformance.oracle.sampling import takes
from conformance.oracle.truth import Step
from conformance.verdicts import Evidence, Failed, Inconclusive, Level

SIZES = ((37, 53), (101, 20), (20, 101), (1, 1), (400, 300))  # width and height
PICTURES = 12  # that are looked at in search of one that tells

# What was in the prompt comes again.
REPEATING: dict[str, Any] = {"temperature": 0, "repetition_penalty": 0.01}


@protocol(Level.MUST, Evidence.EXACT)
def wrong_shapes_are_refused(server: Server) -> None:
    """What is no object with a list of strings is a 422 that names the field."""
    image = shown(0)
    refused(server, "data", ["x", [], 3, {"image": image}, {"image": [3]}, {"image": [[image]]}])


@protocol(Level.MUST, Evidence.EXACT)
def no_images_are_fine(server: Server) -> None:
    """null and an empty list of images are accepted."""
    accepted(server, "data", [None, {"image": []}])


@protocol(Level.MUST, Evidence.EXACT)
def an_image_without_a_place_is_refused(server: Server) -> None:
    """An image for which the prompt has no placeholder is a 400 that says so in `error`: on a model
    that sees because they do not match, on one that does not because it does not.
    """
    for images in [shown(0)], [shown(0), shown(1)]:
        error_of(server.post(data={"image": images}), 400)
        error_of(server.post(data={"image": images}, stream=True), 400)


@protocol(Level.MUST, Evidence.EXACT)
def no_url_is_fetched(server: Server) -> None:
    """An image is given, not fetched: any URL but `data:` is refused, and nobody connects to it.

    The address is one of the machine that the checks run on; a server on another machine can only
    be seen to refuse it.
    """
    with listening() as (address, callers):
        for prompt in "Once", "<image>":
            reply = server.post(prompt=prompt, data={"image": [f"http://{address}/image.png"]})
            require(400 <= reply.status < 500, "a 4xx", reply.status, reply.at)
        require(not callers, "no connection", f"{len(callers)} connections", server.last)


@contextmanager
def listening() -> Iterator[tuple[str, list[object]]]:
    """An address, and who has connected to it; each is sent away."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                connection, caller = listener.accept()
                connection.close()
                if caller == closing:
                    return
                callers.append(caller)

        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            closing = last.getsockname()
            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            host, port = listener.getsockname()
            try:
                yield f"{host}:{port}", callers
            finally:
                last.connect((host, port))
                thread.join()


@protocol(Level.MUST, Evidence.EXACT, EYES)
def every_format_is_taken(server: Server) -> None:
    """A PNG, a JPEG, a WebP and a GIF are taken, in upper or lower case of the media type."""
    for image in pictures.formats(0).values():
        status(server.post(prompt=ASKED, max_tokens=1, **showing(image)), 200)


@protocol(Level.MUST, Evidence.EXACT, EYES, rests_on="images.placement.expand_placeholders")
def there_are_as_many_as_placeholders(server: Server) -> None:
    """Fewer or more images than the prompt has placeholders, or all prompts of a list together, are
    a 400 with the code `image_count_mismatch`, streamed or not.
    """
    prompts: list[Any] = [ASKED, BOTH]
    prompts += [[ASKED, PROMPT, ASKED]] if has(server, PROMPT_LISTS) else []
    for prompt in prompts:
        count = "".join(prompt).count(PLACEHOLDER)
        for other in {0, count - 1, count + 1}:
            images = showing(*map(shown, range(other)))
            for fields in {}, {"stream": True}:
                reply = server.post(prompt=prompt, **images, **fields)
                error_of(reply, 400, "image_count_mismatch")


@protocol(Level.MUST, Evidence.EXACT, EYES, rests_on="images.decoding.decode_image")
def what_is_no_image_is_refused(server: Server) -> None:
    """What is no base64, no picture, no whole one, or of another format is a 400 with the code
    `invalid_image`, streamed or not.
    """
    for image in pictures.broken().values():
        for fields in {}, {"stream": True}:
            reply = server.post(prompt=ASKED, **showing(image), **fields)
            error_of(reply, 400, "invalid_image")


@protocol(Level.MUST, Evidence.EXACT, EYES, rests_on="images.placement.expand_placeholders")
def the_broken_one_is_named(server: Server) -> None:
    """Of several images the message names the one that is none, as `data.image[1]`."""
    for place, image in itertools.product(range(3), list(pictures.broken().values())[:3]):
        images = [shown(0), shown(1), shown(2)]
        images[place] = image
        reply = server.post(prompt=PLACEHOLDER * 3, **showing(*images))
        message = error_of(reply, 400, "invalid_image")["message"]
        named = [i for i in range(4) if f"data.image[{i}]" in str(message)]
        require(named == [place], f"data.image[{place}] in the message", message, reply.at)


@protocol(Level.MUST, Evidence.EXACT, EYES, rests_on="images.decoding.ImageLimits")
def too_many_pixels_are_refused(server: Server) -> None:
    """A small file that claims to have 60,000 × 60,000 pixels is a 400 with the code
    `invalid_image`.
    """
    error_of(server.post(prompt=ASKED, **showing(pictures.bomb())), 400, "invalid_image")


@protocol(
    Level.MUST, Evidence.EXACT, EYES, CONTEXT, rests_on="images.placement.expand_placeholders"
)
def fill_the_context(server: Server) -> None:
    """The places of an image count in the context: a prompt that leaves no room for one token
    because of them is a 400 with the code `context_length_exceeded`.
    """
    context = context_length(server) or 0
    if context > LONGEST:
        raise Inconclusive(f"a context of {context} tokens is too long to be filled")

    def fields(words: int) -> dict[str, Any]:
        return {"prompt": PLACEHOLDER + " a" * words, "max_tokens": 1} | showing(shown(0))

    few, more = (server.ask(**fields(words)).prompt_tokens for words in (16, 32))
    room = context - few  # for one more word each
    if more - few != 16 or not 0 < room or places(server) < 2:
        raise Inconclusive("no prompt of a length that is known would fill the context")
    fits = server.ask(**fields(16 + room - 1))
    equal(fits.prompt_tokens, context - 1, "prompt_tokens", fits.at)
    error_of(server.post(**fields(16 + room)), 400, "context_length_exceeded")


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES)
def text_alone_is_answered_as_before(server: Server) -> None:
    """A model that sees answers a prompt without images, and the same before and after one with
    images.
    """
    asked: list[dict[str, Any]] = [{}, {"data": None}, {"data": {"image": []}}]
    rows = {"logprobs": 3} if has(server, LOGPROBS) else {}

    def answers() -> list[Answer]:
        replies = [server.post(**rows, **fields) for fields in asked]
        for reply in replies:
            require(reply.status == 200, "status: 200", f"{reply.status}", reply.at)
        return [Answer(reply.json, reply.at) for reply in replies]

    found = answers()
    for number in 1, 2:
        server.ask(prompt=ASKED, **showing(shown(number)))
        found += answers()
    for answer in found:
        same_answer(found[0], answer, "the answer to the text alone")


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES)
def places_count_in_usage(server: Server) -> None:
    """prompt_tokens counts each place that an image takes, as many for a small one as for a large
    one, and for each of several.
    """

    def counted(prompt: str, *images: str) -> int:
        answer = server.ask(prompt=prompt, max_tokens=1, **showing(*images))
        total = answer.prompt_tokens + answer.completion_tokens
        equal(answer.usage.get("total_tokens"), total, "total_tokens", answer.at)
        return answer.prompt_tokens

    each, images = places(server), [pictures.sized(0, *size) for size in SIZES]
    require(each > 0, "more tokens with another image", each, server.last)
    text = server.ask(prompt=PROMPT, max_tokens=1).prompt_tokens
    for image in images:
        found = counted(PROMPT + PLACEHOLDER, image) - text
        equal(found, each, "prompt_tokens of an image", server.last)
    for count in 2, 3:
        found = counted(PROMPT + PLACEHOLDER * count, *images[:count]) - text
        equal(found, count * each, f"prompt_tokens of {count} images", server.last)
    if has(server, ECHOED_ROWS):
        answer = echoed(server, ASKED, shown(0))
        tokens = answer.prompt_tokens + answer.completion_tokens
        equal(len(answer.choice.rows.tokens), tokens, "rows", answer.at)
    elif each == 1:
        raise Inconclusive("an image counts as one token, and without rows nobody can tell")


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES, ECHO, rests_on="output_text.echo")
def an_echo_has_the_placeholder_once(server: Server) -> None:
    """With echo the text is the prompt as it was sent, each placeholder once, and then the
    output.
    """
    for prompt in (ASKED, BOTH, WITHIN, PLACEHOLDER, f" {PLACEHOLDER}  {PLACEHOLDER}"):
        images = showing(*map(shown, range(prompt.count(PLACEHOLDER))))
        plain = server.ask(prompt=prompt, max_tokens=2, **images)
        answer = server.ask(prompt=prompt, max_tokens=2, echo=True, **images)
        equal(answer.text, prompt + plain.text, "text", answer.at)


@consistency(Level.MUST, Evidence.EXACT, EYES, ECHOED_ROWS, rests_on="output_text.echo")
def places_have_no_numbers(server: Server) -> None:
    """In an echo the places of an image have null for both their log-probability and their
    likeliest tokens, and so has the first token, but no other.
    """
    answer = echoed(server, WITHIN, shown(0), shown(1))
    rows, count = answer.choice.rows, 2 * places(server)
    silent = [i for i, value in enumerate(rows.values) if value is None]
    equal([i for i, top in enumerate(rows.top) if not top], silent, "rows without top", answer.at)
    equal(silent[:1], [0], "the first row without a number", answer.at)
    equal(len(silent), 1 + count, "rows without a number", answer.at)
    names = {rows.tokens[i] for i in silent[1:]}
    named = [i for i, name in enumerate(rows.tokens) if name in names]
    well = len(names) == 1 and named == silent[1:]
    require(well, "no number where the placeholder is, and only there", rows, answer.at)


@consistency(Level.MUST, Evidence.EXACT, EYES, ECHOED_ROWS, rests_on="output_text.echo")
def places_are_at_their_placeholder(server: Server) -> None:
    """All places of an image have the `text_offset` of its placeholder; what comes after it begins
    where it ends.
    """
    answer = echoed(server, WITHIN, shown(0), shown(1))
    offsets, each = answer.choice.rows.offsets, places(server)
    equal(offsets, sorted(offsets), "text_offset", answer.at)
    first = WITHIN.index(PLACEHOLDER)
    for start in first, WITHIN.index(PLACEHOLDER, first + 1):
        equal(offsets.count(start), each, f"rows at {start}", answer.at)
        after = [o for o in offsets if o > start][:1]
        equal(after, [start + len(PLACEHOLDER)], "the offset after an image", answer.at)
    equal(offsets[answer.prompt_tokens], len(WITHIN), "the first offset of the output", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES, LOGPROBS)
def images_are_told_apart(server: Server) -> None:
    """What the model says depends on what an image shows."""
    for one, other in itertools.combinations(map(shown, range(3)), 2):
        must_be_apart(server, [one], [other], ASKED)


@consistency(
    Level.MUST,
    Evidence.METAMORPHIC,
    EYES,
    LOGPROBS,
    rests_on="images.placement.expand_placeholders",
)
def every_image_is_read(server: Server) -> None:
    """Of two images each matters, and so does which of them comes first."""
    one, two = shown(0), shown(1)
    for other in [one, one], [two, two], [two, one]:
        must_be_apart(server, [one, two], other, BOTH)


@consistency(
    Level.MUST,
    Evidence.METAMORPHIC,
    EYES,
    ECHOED_ROWS,
    rests_on="images.placement.expand_placeholders",
)
def images_take_the_placeholders_in_order(server: Server) -> None:
    """The first image is at the first placeholder: the text before the second depends on no
    other.
    """
    one, two = shown(0), shown(1)
    first, second = between(server, one, one), between(server, two, two)
    if apart(first, second) <= CLOSE:
        raise Inconclusive("the text between two images does not depend on the first")
    for images, alone in ([one, two], first), ([two, one], second):
        found = apart(between(server, *images), alone)
        expected = f"within {CLOSE} what does not depend on the second image"
        require(found <= CLOSE, expected, f"{found:.4f} apart", server.last)


@consistency(
    Level.MUST,
    Evidence.METAMORPHIC,
    EYES,
    PROMPT_IDS,
    ECHOED_ROWS,
    TOKEN_IDS,
    rests_on="images.placement.expand_placeholders",
)
def a_prompt_of_ids_takes_images_too(server: Server) -> None:
    """In a list of token ids, too, the placeholder's id stands once for each image."""
    images = showing(shown(0), shown(1))
    answer = server.ask(
        prompt=WITHIN, echo=True, logprobs=1, return_tokens_as_token_ids=True, **images
    )
    rows, ids = answer.choice.rows, []
    for i, name in enumerate(rows.tokens[: answer.prompt_tokens]):
        match = TOKEN_ID.fullmatch(name)
        require(bool(match), "token_id:…", name, answer.at)
        again = rows.values[i] is None and rows.tokens[:i][-1:] == [name]
        ids += [int(match[1])] if match and not again else []
    one, other = (server.ask(prompt=prompt, **images) for prompt in (WITHIN, ids))
    same_answer(one, other, "the answer to the text")


@consistency(
    Level.MUST,
    Evidence.METAMORPHIC,
    EYES,
    PROMPT_LISTS,
    LOGPROBS,
    rests_on="images.placement.expand_placeholders",
)
def each_prompt_of_a_list_has_its_own(server: Server) -> None:
    """In a list of prompts each takes as many of the images as it has placeholders, prompt
    after prompt, and is answered as it would be alone.
    """
    prompts, images = [ASKED, PROMPT, BOTH], [shown(0), shown(1), shown(2)]
    fields = {"max_tokens": 1, "logprobs": 5} | naming(server)
    answer = server.ask(prompt=prompts, **showing(*images), **fields)
    equal(len(answer.choices), len(prompts), "choices", answer.at)
    own = iter(images)
    for prompt, choice in zip(prompts, answer.choices, strict=True):
        mine = list(itertools.islice(own, prompt.count(PLACEHOLDER)))
        alone = server.ask(prompt=prompt, **showing(*mine), **fields)
        one, other = (c.rows.top[0] or {} for c in (alone.choice, choice))
        what = f"to {prompt!r} the answer that it gets alone"
        require(apart(one, other) <= CLOSE, what, f"{other}, and alone {one}", answer.at)


@consistency(
    Level.MUST, Evidence.METAMORPHIC, EYES, LOGPROBS, rests_on="images.decoding.decode_image"
)
def only_pixels_count(server: Server) -> None:
    """The same pixels in another format, or with a palette, are the same image."""
    for number in 0, 1:
        found = pictures.formats(number)
        look_alike(server, {k: v for k, v in found.items() if k != "JPEG"}, shown(number))


@consistency(
    Level.MUST, Evidence.METAMORPHIC, EYES, LOGPROBS, rests_on="images.decoding.decode_image"
)
def an_alpha_channel_is_dropped(server: Server) -> None:
    """What is transparent has the colour that it is stored with."""
    for number in 0, 1:
        image = pictures.with_alpha(mosaic(number))
        look_alike(server, {"a PNG with an alpha channel": image}, shown(number))


@consistency(
    Level.MUST, Evidence.METAMORPHIC, EYES, LOGPROBS, rests_on="images.decoding.decode_image"
)
def a_picture_is_turned_as_it_says(server: Server) -> None:
    """A JPEG with an EXIF orientation is turned by it."""
    picture = mosaic(0)
    turned = {f"a JPEG turned by {o}": pictures.turned(picture, o) for o in pictures.STORED}
    look_alike(server, turned, pictures.jpeg(picture))


@consistency(
    Level.MUST, Evidence.METAMORPHIC, EYES, LOGPROBS, rests_on="images.decoding.decode_image"
)
def an_animation_is_its_first_frame(server: Server) -> None:
    """Of several frames the first is the image."""
    frames = pictures.animated(*map(mosaic, range(3)))
    look_alike(server, {f"the first frame of a {k}": v for k, v in frames.items()}, shown(0))


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES, rests_on="prefix_cache.block_hashes")
def the_same_image_again_changes_nothing(server: Server) -> None:
    """The second answer to a prompt with an image is the first, to the bit, but for
    `cached_tokens`.
    """
    for fields in ways(server):
        asked = cacheable(**fields)
        one, other = (server.ask(**asked, **showing(shown(0))) for _ in range(2))
        same_answer(one, other, "the answer to the first request")


def cacheable(prompt: str = "{image} {text}", **fields: Any) -> dict[str, Any]:
    """A long prompt with an image that nobody has sent before, and its key. prompt: where in it the
    image is, and where the text.
    """
    text, key = fresh()
    sent = prompt.format(image=PLACEHOLDER, text=text)
    return {"max_tokens": 6, "prompt": sent, "prompt_cache_key": key, **fields}


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES, rests_on="prefix_cache.block_hashes")
def another_image_is_another_prompt(server: Server) -> None:
    """A text that was read with one image is answered with another as if it had not been, to the
    bit.
    """
    for fields in ways(server):
        asked = cacheable(**fields)
        server.ask(**asked, **showing(shown(0)))
        other = server.ask(**asked, **showing(shown(1)))
        cold = server.ask(**asked | {"prompt_cache_key": fresh()[1]}, **showing(shown(1)))
        same_answer(cold, other, "the answer of a server that has read nothing")


@consistency(
    Level.MUST, Evidence.METAMORPHIC, EYES, CACHED_TOKENS, rests_on="prefix_cache.block_hashes"
)
def only_text_before_an_image_is_shared(server: Server) -> None:
    """With another image `cached_tokens` is no more than the text before it has; with the same it
    may be.
    """
    reused = False
    for prompt in "{image} {text}", "{text} {image} {text}":
        asked = cacheable(prompt, max_tokens=1)
        head = asked["prompt"].partition(PLACEHOLDER)[0]
        most = server.ask(prompt=head, max_tokens=1).prompt_tokens if head else 1
        server.ask(**asked, **showing(shown(0)))
        other = server.ask(**asked, **showing(shown(1)))
        fine = cached(other) <= most
        require(fine, f"{most} cached tokens at most", cached(other), other.at)
        reused = reused or cached(server.ask(**asked, **showing(shown(0)))) > most
    if not reused:
        raise Inconclusive("nothing is reused with the same image either")


@consistency(
    Level.SHOULD, Evidence.METAMORPHIC, EYES, CACHED_TOKENS, rests_on="prefix_cache.block_hashes"
)
def an_image_is_cached_with_its_text(server: Server) -> None:
    """`cached_tokens` tells how much of a long prompt that begins with an image was read before."""
    asked = cacheable(max_tokens=1)
    server.ask(**asked, **showing(shown(0)))
    answer = server.ask(**asked, **showing(shown(0)))
    within = 1 < cached(answer) <= answer.prompt_tokens
    require(within, f"2 to {answer.prompt_tokens} cached tokens", answer.usage, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, EYES, STREAM, rests_on="output_text.StreamedChoice")
def a_stream_says_what_the_whole_says(server: Server) -> None:
    """The parts of an answer to a prompt with images, joined, are the answer without a stream."""
    asked: list[dict[str, Any]] = [{"prompt": ASKED} | showing(shown(1))]
    asked += [{"prompt": BOTH} | showing(shown(1), shown(2))]
    for fields in asked:
        as_whole(server, **fields)
        if has(server, ECHOED_ROWS):
            as_whole(server, echo=True, logprobs=2, **fields)


@consistency(Level.MUST, Evidence.EXACT, EYES, LOGPROBS, rests_on="bundle.vocabulary")
def a_placeholder_is_never_drawn(server: Server) -> None:
    """No placeholder is part of an output, though it was part of the prompt and what was is made
    likelier by far.
    """
    again = REPEATING if takes(server, "repetition_penalty", 0.01) else {"temperature": 2}
    for number in range(PICTURES):
        fields = showing(shown(number)) | again
        choice = server.ask(prompt=PLACEHOLDER, max_tokens=4, logprobs=1, **fields).choice
        drawn = PLACEHOLDER in choice.text or PLACEHOLDER in choice.rows.tokens
        require(not drawn, f"no {PLACEHOLDER}", choice.rows.tokens, choice.at)


@truth(Level.MUST, Evidence.EXACT, EYES, LOGPROBS, rests_on="images.preprocessor.Preprocessor")
def is_read_at_any_size(server: Server) -> None:
    """A picture of any size is made smaller or larger, cut and read as the checkpoint says: the
    log-probabilities after it are the model's.
    """
    for number, size in enumerate(SIZES):
        image = pictures.sized(number, *size)
        as_the_model_says(server, 5, prompt=ASKED, temperature=0, **showing(image))


@truth(Level.MUST, Evidence.EXACT, EYES, LOGPROBS, rests_on="images.decoding.decode_image")
def is_read_in_any_format(server: Server) -> None:
    """A PNG, a JPEG, a WebP and a GIF, grey, with an alpha channel, or turned, are read as they
    are: the log-probabilities after them are the model's.
    """
    grey = 2  # of one colour, so that every decoder finds the same in its JPEG
    picture = mosaic(grey)
    images = [*pictures.formats(grey).values(), pictures.with_alpha(mosaic(0))]
    images += [pictures.png(picture.convert(mode)) for mode in ("L", "LA")]
    images += [pictures.turned(picture, orientation) for orientation in pictures.STORED]
    for image in images:
        as_the_model_says(server, 5, prompt=ASKED, temperature=0, **showing(image))


@truth(Level.MUST, Evidence.EXACT, EYES, LOGPROBS, rests_on="images.placement.expand_placeholders")
def several_are_read_in_their_places(server: Server) -> None:
    """After several images, amid text or side by side, the log-probabilities are the model's."""
    for prompt in BOTH, WITHIN, PLACEHOLDER * 3:
        images = showing(*map(shown, range(prompt.count(PLACEHOLDER))))
        as_the_model_says(server, 5, prompt=prompt, temperature=0, **images)


@truth(Level.MUST, Evidence.EXACT, EYES, rests_on="model.vision_config.VisionConfig")
def takes_the_places_of_the_model(server: Server) -> None:
    """prompt_tokens counts as many places for an image as the model has rows for it."""
    for prompt in ASKED, BOTH, WITHIN:
        images = showing(*map(shown, range(prompt.count(PLACEHOLDER))))
        ids, _ = server.truth.placed(prompt, images["data"])
        answer = server.ask(prompt=prompt, max_tokens=1, **images)
        equal(answer.prompt_tokens, len(ids), "prompt_tokens", answer.at)


@truth(Level.MUST, Evidence.EXACT, EYES, ECHOED_ROWS, rests_on="generate.prompt_reports")
def text_after_an_image_is_scored_by_the_model(server: Server) -> None:
    """In an echo the log-probability of each token of the text is what the model says given the
    tokens and the images before it.
    """
    truth, images = server.truth, showing(shown(0), shown(1))
    fields = {"max_tokens": 1, "logprobs": 3, "echo": True} | naming(server)
    answer = server.ask(prompt=WITHIN, **fields, **images)
    rows, reports = (
        answer.choice.rows,
        truth.prompt_reports(WITHIN, truth.model.vocab_size, **images),
    )
    equal(len(rows.tokens), len(reports) + 1, "rows", answer.at)
    model = {i: dense(report) for i, report in enumerate(reports) if report}
    if wrong := deviation(truth, some(rows, model), list(model.values()), 3):
        raise Failed(*wrong, at=answer.at)


def some(rows: Rows, which: Collection[int]) -> Rows:
    columns: Iterable[list[Any]] = (rows.tokens, rows.values, rows.top, rows.offsets)
    return Rows(*([column[i] for i in which] for column in columns))


@truth(Level.MUST, Evidence.EXACT, EYES, LOGPROBS, rests_on="bundle.vocabulary")
def the_likeliest_placeholder_is_not_drawn(server: Server) -> None:
    """A placeholder is not drawn where it is the likeliest of all tokens."""
    truth, told = server.truth, False
    for fields in (REPEATING | showing(shown(number)) for number in range(PICTURES)):
        ids, images = truth.placed(PLACEHOLDER, fields["data"])
        placeholder = ids[images[0].start]
        if likeliest(truth.first(PLACEHOLDER, fields), placeholder):
            told = True
            choice, output = output_of(server, prompt=PLACEHOLDER, max_tokens=1, **fields)
            require(placeholder not in output, f"no {PLACEHOLDER}", choice.rows.tokens, choice.at)
    if not told:
        raise Inconclusive("no image that was tried makes the placeholder the likeliest")


def likeliest(step: Step, token: int) -> bool:
    """Whether a token that may not be drawn would clearly be the likeliest if it might."""
    allowed = step.history.allowed.copy()
    allowed[token] = True
    scores = penalised(step.logits, replace(step.history, allowed=allowed))
    return bool(scores[token] > np.delete(scores, token).max() + CLEARLY)
