"""Who serves: what `dmd models` shows, and a champion chosen by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flows.parameters import DataParameters
from flows.train import published_data
from tasks import champion
from tasks.champion import decisions, serving, trained


def standing(data: DataParameters) -> list[dict[str, Any]]:
    """Every decision, oldest first, and whether it is the champion's. Raises ChampionError where none was promoted."""
    serving(data.models_folder)
    known = decisions(data.models_folder)
    champions = [place for place, decision in enumerate(known) if decision.stands][-1:]
    return [asdict(decision) | {"champion": place in champions} for place, decision in enumerate(known)]


def describe(found: Sequence[Mapping[str, Any]]) -> str:
    """Every decision, a line each."""
    lines = []
    for decision in found:
        ensemble = decision["ensemble"]
        who = f"{ensemble['model']}, {len(ensemble['seeds'])} seeds, {ensemble['published']['tag']}"
        state = "promoted" if decision["promoted"] else "refused"
        withdrawn = f", withdrawn {decision['withdrawn']}" if decision["withdrawn"] else ""
        star = "*" if decision["champion"] else " "
        lines.append(f"{star} {decision['time']}  {who}  {state}{withdrawn}: {decision['reason']}")
    return "\n".join(lines)


def promote(data: DataParameters, model: str) -> None:
    """Make a model champion, as it was trained last on what is published. Raises ChampionError where it was not."""
    store, published = published_data(data)
    champion.promote(store, trained(data.models_folder, model, published), "chosen by hand", data.models_folder)
