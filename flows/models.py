"""Who serves: what `dmd models` shows, and a champion chosen by hand."""

from __future__ import annotations

from flows.parameters import DataParameters
from flows.train import published_data
from tasks import champion
from tasks.champion import decisions, serving, trained


def listing(data: DataParameters) -> str:
    """Every decision, a line each. Raises ChampionError where none was promoted."""
    serving(data.models_folder)
    known = decisions(data.models_folder)
    standing = [decision for decision in known if decision.stands]
    lines = []
    for decision in known:
        state = "promoted" if decision.promoted else "refused"
        withdrawn = f", withdrawn {decision.withdrawn}" if decision.withdrawn else ""
        who = f"{decision.ensemble.model}, {len(decision.ensemble.seeds)} seeds, {decision.ensemble.published.tag}"
        star = "*" if decision is standing[-1] else " "
        lines.append(f"{star} {decision.time}  {who}  {state}{withdrawn}: {decision.reason}")
    return "\n".join(lines)


def promote(data: DataParameters, model: str) -> None:
    """Make a model champion, as it was trained last on what is published. Raises ChampionError where it was not."""
    store, published = published_data(data)
    champion.promote(store, trained(data.models_folder, model, published), "chosen by hand", data.models_folder)
