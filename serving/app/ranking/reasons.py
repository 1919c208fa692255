"""Why an item is in the list, from what the model gave and nothing else. Pure: every reason carries its number.

A reason is left out where its number does not bear it: no cosine, no "close to"; no word of the question in the item's
own text, no word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving.app.models import Reason

_VERBS = {
    "like": "you liked",
    "rating": "you rated {value:g}",
    "click": "you chose",
    "view": "you looked at",
}


def because(item: str, title: str, cosine: float, least: float, kind: str, value: float | None) -> Reason | None:
    """The item of the user's own that is nearest, if it is near.

    Args:
      item, title: of the user's own item (`because_ids` of the model).
      cosine: of the two items' embeddings.
      least: cosine below which nothing is said.
      kind, value: of the user's newest event with that item.
    """
    if cosine < least or kind not in _VERBS or (kind == "rating" and value is None):
        return None
    verb = _VERBS[kind].format(value=value)
    text = f"Close to {title}, which {verb} (cosine {cosine:.2f})"
    return Reason(kind="history", text=text, value=cosine, item=item, title=title)


def carried_by(weights: Mapping[str, float]) -> Reason | None:
    """Which modality has the largest share of the item's embedding; nothing where there is but one."""
    there = {name: share for name, share in weights.items() if share > 0}
    if len(there) < 2:
        return None
    name = max(there, key=lambda one: (there[one], one))
    return Reason(kind="modality", text=f"Mostly its {name} ({there[name]:.0%})", value=there[name], name=name)


def matched(query: Sequence[str], counts: Mapping[str, int], items_with: Mapping[str, int], total: int) -> list[Reason]:
    """The words of the question that stand in the item's own text, the rarest in the catalogue first.

    Args:
      query: folded words of the question.
      counts: word -> how often it stands in the item's text.
      items_with: word -> how many items have it.
      total: items in the catalogue; a word that half of them have tells nothing, and is not named.
    """
    there = [word for word in dict.fromkeys(query) if counts.get(word) and 2 * items_with.get(word, 0) <= total]
    there.sort(key=lambda word: (items_with[word], word))
    result = []
    for word in there:
        often = "once" if counts[word] == 1 else f"{counts[word]} times"
        text = f"Its text has “{word}” {often} ({items_with[word]:,} of {total:,} items have it)"
        result.append(Reason(kind="word", text=text, value=float(counts[word]), name=word))
    return result


def taste(cosine: float, least: float) -> Reason | None:
    """The long-term taste, if the item is near it."""
    if cosine < least:
        return None
    return Reason(kind="taste", text=f"Near to your taste over time (cosine {cosine:.2f})", value=cosine)


def popular(events: int) -> Reason | None:
    """Said of lists that stand on nothing else."""
    if events <= 0:
        return None
    return Reason(kind="popular", text=f"{events:,} events of others in the training data", value=float(events))


def similar(title: str, cosine: float) -> Reason:
    """Of `/similar`: the cosine that the order came from."""
    return Reason(kind="similar", text=f"Cosine with {title}: {cosine:.2f}", value=cosine, title=title)
