"""The card of a trained model: what it was trained on, by which protocol, how good it is, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = {"mae": "MAE", "corr": "Corr", "acc7": "Acc-7", "acc2_nonzero": "Acc-2 (negative/positive)",
          "f1_nonzero": "F1 (negative/positive)", "error": "cross-entropy"}  # fmt: skip
_LIMITS = """\
- It was measured on the segments above alone. Other speakers, languages, cameras and microphones give other figures.
- The figures are those of one seed. A table over several seeds says how much of them is chance.
- It says what annotators read in a face, a voice and words, not what a person feels. Models of faces and voices err
  more often for people who are rare in their training data.
- It is made for research. Do not base decisions about people on it, and do not use it on recordings of people who have
  not agreed to that."""


def model_card(run: Mapping[str, Any], result: Mapping[str, Any] | None) -> str:
    """Markdown with the header that the Hugging Face hub reads.

    ``run`` is what config.json holds, ``result`` what result.json does, without which the card has no figures.
    """
    name, training = run["model"], run["training"]
    columns = {
        modality: f"{len(names)} columns ({names[0]} … {names[-1]})" for modality, names in run["columns"].items()
    }
    parts = [
        "---\nlibrary_name: dmd\ntags:\n- multimodal-emotion-recognition\n- sentiment-analysis\n---",
        f"# {name}, seed {run['seed']}",
        "## Data",
        "\n".join(f"- {part}: {said}" for part, said in columns.items()),
        f"Digest of the samples: `{run['data']}`. Labels lie in {training['label_range'][0]:g} to "
        f"{training['label_range'][1]:g}.",
        "## Protocol",
        f"At most {training['max_epochs']} epochs of batches of {training['batch_size']}, learning rate "
        f"{training['learning_rate']:g}; the weights of the epoch with the least error on the valid split; the test "
        "split was evaluated once, with these weights.",
    ]
    if result is not None:
        parts += ["## Figures", _figures(result)]
        environment = ", ".join(f"{key} {value}" for key, value in result["environment"].items())
        parts.append(f"Epoch {result['best_epoch']} of {result['epochs']}, {result['parameters']:,} parameters, "
                     f"{result['seconds']:.0f} s of training; {environment}.")  # fmt: skip
    parts += ["## Limits", _LIMITS, "## Use", _use(name)]
    return "\n\n".join(parts) + "\n"


def _figures(result: Mapping[str, Any]) -> str:
    splits = list(result["metrics"])
    rows = ["| | " + " | ".join(f"{split} ({result['segments'][split]} segments)" for split in splits) + " |",
            "|---" * (len(splits) + 1) + "|"]  # fmt: skip
    for metric, heading in _SHOWN.items():
        values = [result["metrics"][split].get(metric) for split in splits]
        if any(value is not None for value in values):
            rows.append(f"| {heading} | " + " | ".join("–" if v is None else f"{v:.3f}" for v in values) + " |")
    return "\n".join(rows)


def _use(name: str) -> str:
    return f"""\
```python
from dmd_model.prediction import predict
from dmd_model.registry import model_class

model = model_class("{name}").from_pretrained("this folder")
sentiments = predict(model, samples)  # samples: dmd_model.batch.Samples with the columns above
```"""
