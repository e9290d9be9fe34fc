"""The page of a model: its versions and their metric over time, rollout, monitoring, and what of it is live."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound, ServiceUnavailable

from serving.models.live_model import LiveModel
from serving.models.live_models import LiveModels
from serving.models.versions import LAST, Listed, with_state
from serving.pages import comparison, html, sandbox
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.stats import statistics
from updraft.model.version_files import CARD
from updraft.registry.moves import Move, Pointer
from updraft.registry.overview.known_versions import VersionFacts, chosen_first, describe
from updraft.registry.overview.metric_chart import Chart, draw
from updraft.registry.registry import Version
from updraft.registry.s3 import VerificationError
from updraft.registry.states import States, replay

HOURS = 24 * 7  # of the statistics
MOVES, METRICS, HEIGHT = 20, 4, 200  # moves and metrics that are shown; pixels of the chart
UNREACHABLE = (BotoCoreError, ClientError, OSError)
Part = TypeVar("Part")

log = logging.getLogger(__name__)


@dataclass
class Overview:
    """What is known of a model; without the registry, what is live here. `faults` say what could not be read."""

    name: str
    live: LiveModel | None
    pointer: Pointer | None
    versions: list[tuple[VersionFacts, str]]
    moves: list[Move] = field(default_factory=list)
    states: States | None = None
    listed: Listed | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def choose_by(self) -> str | None:
        """The metric that chose the version in production, else the latest one for which it is known."""
        known = [describe(0, self.live.manifest, None)] if self.live else []
        known += [version for version, _ in self.versions]
        named = next((version.choose_by for version in known if version.choose_by), None)
        return named or next((metric for version in known for metric in version.metrics), None)

    @property
    def metrics(self) -> list[str]:
        """The metrics of the table, the one that chooses first."""
        names = dict.fromkeys(metric for version, _ in self.versions for metric in version.metrics)
        return list(chosen_first(dict.fromkeys(names, 0.0), self.choose_by))[:METRICS]


def add_pages(views: Blueprint, live_models: LiveModels, predictions: PredictionLog | None) -> None:
    """Add the page of a model, the comparison of two versions, and the cards."""

    @views.get("/models/<use_case>")
    def model(use_case: str) -> Response:
        _require_known(live_models, use_case)
        overview = read(live_models, use_case, _number("before", LAST) or LAST)
        monitor = live_models.monitors.states.get(use_case)
        chart: Chart | None = draw(overview.choose_by, overview.versions, monitor, HEIGHT)
        stats = statistics(predictions, use_case, HOURS)["use_cases"] if predictions else []
        return html.render(
            "model.html",
            overview=overview,
            chart=chart,
            monitor=monitor,
            refusal=live_models.refusals.get(use_case),
            not_tried=live_models.rollouts.refusals.get(use_case),
            stats=stats,
            logs=predictions is not None,
        )

    @views.get("/models/<use_case>/compare")
    def compare(use_case: str) -> Response:
        _require_known(live_models, use_case)
        files, states = _Files(live_models, use_case), live_models.versions.states
        left, right = (comparison.side(files.version(name), files) for name in ("a", "b"))
        known = _registry(lambda: states(use_case, live_models.pointers.get(use_case)))
        return html.render("compare.html", name=use_case, **comparison.values(left, right, states=known))

    @views.get("/models/<use_case>/<int:number>/card")
    def card(use_case: str, number: int) -> Response:
        _require_known(live_models, use_case)
        content = _Files(live_models, use_case)(number, CARD)
        if content is None:
            raise NotFound(f"There is no model card of version {number} of {use_case}.")
        return sandbox.page(content, use_case)


def read(live_models: LiveModels, name: str, before: int = LAST) -> Overview:
    """Read what the page shows; what cannot be read becomes a line, and the rest stays."""
    pointer, versions = live_models.pointers.get(name), live_models.versions
    overview = Overview(name, live_models.live.get(name), pointer, [])
    if moves := _part(overview, "The history", lambda: versions.history(name, pointer)):
        overview.moves, overview.states = moves[::-1][:MOVES], replay(moves)
    pruned = overview.states.pruned if overview.states else ()
    overview.listed = _part(overview, "The list of versions", lambda: versions.listed(name, pruned, before))
    found = overview.listed.versions if overview.listed else [*_live_facts(live_models, name)]
    overview.versions = [with_state(version, overview.states, pointer) for version in found]
    return overview


class _Files:
    """Reads verified files of a use case's versions; what cannot be read is an HTTP error."""

    def __init__(self, live_models: LiveModels, name: str) -> None:
        self._versions, self._name = live_models.versions, name

    def __call__(self, number: int, file: str) -> bytes | None:
        return _registry(lambda: self._versions.file(self._name, number, file) if number <= LAST else None)

    def version(self, parameter: str) -> Version:
        """Return the version that a parameter of the request names."""
        number = _number(parameter)
        if number is None:
            raise BadRequest("Two versions are compared: a and b, each a number.")
        version = _registry(lambda: self._versions.read(self._name, number))
        if version is None:
            raise NotFound(f"There is no version {number} of {self._name}.")
        return version


def _registry(read: Callable[[], Part]) -> Part:
    """Read from the registry; raises ServiceUnavailable, and NotFound for what is not believed."""
    try:
        return read()
    except VerificationError as error:
        log.warning("%s", error)
        raise NotFound("This version is not verified, and not shown; the log has the reason.") from None
    except UNREACHABLE:
        raise ServiceUnavailable("The registry is unreachable.", retry_after=10) from None


def _part(overview: Overview, what: str, read: Callable[[], Part]) -> Part | None:
    try:
        return read()
    except VerificationError as error:
        log.warning("%s", error)
        overview.faults.append(f"{what} cannot be verified: the log of the service has the reason")
    except UNREACHABLE as error:
        log.warning("%s: %s cannot be read: %s", overview.name, what, type(error).__name__)
        overview.faults.append(f"{what} cannot be read: the registry is unreachable")
    return None


def _live_facts(live_models: LiveModels, name: str) -> Iterator[VersionFacts]:
    tried = live_models.rollouts.model(name)
    lives = {live.version: live for live in (live_models.live.get(name), tried) if live}
    for number in sorted(lives, reverse=True):
        yield describe(number, lives[number].manifest, None)


def _require_known(live_models: LiveModels, name: str) -> None:
    if name not in live_models.names:
        raise NotFound(f"Unknown use case; known: {', '.join(live_models.names) or 'none yet'}.")


def _number(name: str, highest: int = LAST) -> int | None:
    """Return the version that a parameter names."""
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 1 <= int(text) <= highest:
        raise BadRequest(f"{name}: expected the number of a version.")
    return int(text)


def shown_metrics(manifest: Any) -> dict[str, float]:
    """Return the metrics of a manifest, the one that chose the model first."""
    facts = describe(0, manifest, None)
    return chosen_first(facts.metrics, facts.choose_by)
